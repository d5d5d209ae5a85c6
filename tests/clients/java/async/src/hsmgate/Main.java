package hsmgate;

import com.aliyun.sdk.gateway.pop.auth.SignatureVersion;
import java.util.Set;
import java.util.TreeSet;

/** The asynchronous SDK: every family signed with ACS3, the other schemes, TLS. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Steps steps = new Steps();
        Gateway plain = Gateway.named("HSMGATE_DEV_JSON");
        Gateway secured = Gateway.named("HSMGATE_TLS_DEV_JSON");
        Coverage coverage = new Coverage();

        AsyncSdk kms = new AsyncSdk(plain, SignatureVersion.V3, coverage);
        new Families(steps, "http-acs3-", kms, plain).all(false);
        steps.step("http-acs3-serves-or-refuses-every-operation-of-the-sdk", () -> {
            Set<String> others = new TreeSet<>(AsyncSdk.operations());
            others.removeAll(coverage.actions());
            others.remove("OpenKmsService");
            others.remove("RotateSecret");
            for (String operation : others) {
                kms.refusedWithAnything("UnsupportedOperation", 400, operation);
            }
        });
        Authentication.steps(steps, "http-acs3-", gateway -> new AsyncSdk(gateway, SignatureVersion.V3, new Coverage()),
                plain, Gateway.named("HSMGATE_THROTTLED_DEV_JSON"));

        for (SignatureVersion version : new SignatureVersion[] {SignatureVersion.V1, SignatureVersion.V4}) {
            String scheme = version == SignatureVersion.V1 ? "rpc-" : "acs4-";
            new Families(steps, "http-" + scheme, new AsyncSdk(plain, version, coverage), plain).essentials();
        }
        new Families(steps, "https-acs3-", new AsyncSdk(secured, SignatureVersion.V3, coverage), secured).essentials();
        Authentication.temporary(steps, gateway -> new AsyncSdk(gateway, SignatureVersion.V3, coverage), secured);
        Text.steps(steps, gateway -> new AsyncSdk(gateway, SignatureVersion.V3, new Coverage()));

        coverage.report(steps, "", Absences.with(Absences.GATEWAY,
                "GetKmsInstance.KmsInstance.ChargeType", "the gateway is not rented"));
        steps.finish();
    }
}
