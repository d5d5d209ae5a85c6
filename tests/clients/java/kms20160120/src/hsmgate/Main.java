package hsmgate;

import com.aliyun.teaopenapi.models.Config;
import java.nio.file.Files;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The newest SDK that the registries serve: every family signed with ACS3, the other schemes, TLS. */
public final class Main {
    /** Fields that are never set, and values that have no field, with the reason. */
    private static final Map<String, String> ABSENCES = Absences.with(Absences.GATEWAY,
            "GetKmsInstance:deletionprotection", "younger than this SDK",
            "GetKmsInstance:productversion", "younger than this SDK");

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Steps steps = new Steps();
        Gateway plain = Gateway.named("HSMGATE_DEV_JSON");
        Gateway secured = Gateway.named("HSMGATE_TLS_DEV_JSON");
        Coverage coverage = new Coverage();

        NewestSdk kms = new NewestSdk(NewestSdk.config(plain), coverage);
        new Families(steps, "http-acs3-", kms, plain).all(true);
        steps.step("http-acs3-serves-or-refuses-every-operation-of-the-sdk", () -> {
            Set<String> others = new TreeSet<>(NewestSdk.operations());
            others.removeAll(coverage.actions());
            // Refused in steps above: the service is open, and a generic secret is not rotated.
            others.remove("OpenKmsService");
            others.remove("RotateSecret");
            for (String operation : others) {
                kms.refused("UnsupportedOperation", 400, operation);
            }
        });
        Authentication.steps(steps, "http-acs3-", gateway -> new NewestSdk(NewestSdk.config(gateway), new Coverage()),
                plain, Gateway.named("HSMGATE_THROTTLED_DEV_JSON"));

        Config rpc = NewestSdk.config(plain).setSignatureAlgorithm("v2");
        new Families(steps, "http-rpc-", new NewestSdk(rpc, coverage), plain).essentials();
        NewestSdk tls = new NewestSdk(NewestSdk.config(secured), coverage);
        new Families(steps, "https-acs3-", tls, secured).essentials();
        Config tlsRpc = NewestSdk.config(secured).setSignatureAlgorithm("v2");
        new Families(steps, "https-rpc-", new NewestSdk(tlsRpc, coverage), secured).essentials();
        Authentication.temporary(steps, gateway -> new NewestSdk(NewestSdk.config(gateway), coverage), secured);
        steps.step("https-sends-nothing-without-the-ca", () -> {
            try {
                // Under another name: the SDK keeps its connections, and the CA with them, for each host.
                Config unknowing = NewestSdk.config(secured).setCa(null)
                        .setEndpoint(secured.address().replace("127.0.0.1", "localhost"));
                new NewestSdk(unknowing, coverage).call("ListKeys");
            } catch (Refused answered) {
                throw new AssertionError("it was sent", answered);
            } catch (Exception unsent) {
                Steps.holds(unsent.toString().contains("PKIX path building failed"), unsent.toString());
                return;
            }
            throw new AssertionError("it was sent");
        });
        for (Gateway gateway : new Gateway[] {plain, secured}) {
            steps.step("the-example-encrypts-and-decrypts-by-" + gateway.protocol(), () -> runsTheExample(gateway));
        }
        Text.steps(steps, gateway -> new NewestSdk(NewestSdk.config(gateway), new Coverage()));

        coverage.report(steps, "", ABSENCES);
        steps.finish();
    }

    /** Runs examples/java/encrypt/Encrypt.java. */
    private static void runsTheExample(Gateway gateway) throws Exception {
        Map<String, String> variables = new HashMap<>(Map.of(
                "HSMGATE_ENDPOINT", gateway.get("endpoint"),
                "HSMGATE_ACCESS_KEY_ID", gateway.get("access_key_id"),
                "HSMGATE_ACCESS_KEY_SECRET", gateway.get("access_key_secret")));
        if (gateway.protocol().equals("https")) {
            variables.put("HSMGATE_CA_FILE", gateway.get("ca_file"));
        }
        String printed = Example.output(Files.createTempDirectory("example"), variables, "Encrypt");
        Steps.holds(printed.endsWith("\ndecrypted: hello\n"), printed);
    }
}
