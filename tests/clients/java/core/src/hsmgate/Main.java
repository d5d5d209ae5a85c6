package hsmgate;

import com.aliyuncs.auth.KeyPairCredentials;
import com.aliyuncs.http.FormatType;
import com.aliyuncs.http.MethodType;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;

/** The SDK of the older generation: every family in JSON by GET and in XML by POST, the other scheme, TLS. */
public final class Main {
    /** Fields that are never set, and values that have no field, with the reason. */
    private static final Map<String, String> ABSENCES = Absences.with(Absences.GATEWAY,
            "GetKmsInstance:deletionprotection", "younger than this SDK",
            "GetKmsInstance:productversion", "younger than this SDK");

    private static final String UNREADABLE = "the SDK reads a list in XML only with an element around its items";

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Steps steps = new Steps();
        Gateway plain = Gateway.named("HSMGATE_DEV_JSON");
        Gateway secured = Gateway.named("HSMGATE_TLS_DEV_JSON");
        Coverage json = new Coverage();
        Coverage xml = new Coverage();

        CoreSdk kms = new CoreSdk(plain, FormatType.JSON, MethodType.GET, json);
        new Families(steps, "http-json-get-", kms, plain).all(false);
        steps.step("http-json-get-serves-or-refuses-every-operation-of-the-sdk", () -> {
            Set<String> others = new TreeSet<>(CoreSdk.operations());
            others.removeAll(json.actions());
            others.remove("OpenKmsService");
            others.remove("RotateSecret");
            // Of no document of the API; only this SDK has it.
            others.remove("AdvanceEncrypt");
            kms.refused("InvalidAction.NotFound", 404, "AdvanceEncrypt");
            for (String operation : others) {
                kms.refused("UnsupportedOperation", 400, operation);
            }
        });
        Authentication.steps(steps, "http-json-get-",
                gateway -> new CoreSdk(gateway, FormatType.JSON, MethodType.GET, new Coverage()),
                plain, Gateway.named("HSMGATE_THROTTLED_DEV_JSON"));
        new Families(steps, "http-xml-post-",
                new CoreSdk(plain, FormatType.XML, MethodType.POST, xml), plain).all(false);

        new Families(steps, "http-acs3-",
                new CoreSdk(plain, FormatType.JSON, MethodType.POST, json).signingWithAcs3(), plain).essentials();
        new Families(steps, "https-json-post-",
                new CoreSdk(secured, FormatType.JSON, MethodType.POST, json), secured).essentials();
        new Families(steps, "https-xml-get-",
                new CoreSdk(secured, FormatType.XML, MethodType.GET, xml), secured).essentials();
        Authentication.temporary(steps,
                gateway -> new CoreSdk(gateway, FormatType.JSON, MethodType.POST, json), secured);
        clientKeys(steps, plain, kms);
        Text.steps(steps, gateway -> new CoreSdk(gateway, FormatType.JSON, MethodType.POST, new Coverage()));

        json.report(steps, "json-", ABSENCES);
        xml.report(steps, "xml-", Absences.with(ABSENCES,
                "DescribePolicy.Permissions", UNREADABLE,
                "DescribePolicy:permissions", UNREADABLE,
                "DescribePolicy.Resources", UNREADABLE,
                "DescribePolicy:resources", UNREADABLE,
                "ListClientKeys.ClientKeys", UNREADABLE,
                "ListClientKeys:aapname", UNREADABLE,
                "ListClientKeys:clientkeyid", UNREADABLE,
                "ListClientKeys:createtime", UNREADABLE,
                "ListClientKeys:keyalgorithm", UNREADABLE,
                "ListClientKeys:keyorigin", UNREADABLE,
                "ListClientKeys:notafter", UNREADABLE,
                "ListClientKeys:notbefore", UNREADABLE,
                "ListClientKeys:publickeydata", UNREADABLE));
        steps.finish();
    }

    /** Requests signed with a client key, SHA256withRSA, as the SDK does with a key pair. */
    private static void clientKeys(Steps steps, Gateway gateway, Kms kms) {
        for (FormatType format : new FormatType[] {FormatType.JSON, FormatType.XML}) {
            steps.step("http-" + format.name().toLowerCase(Locale.ROOT) + "-post-takes-a-client-key", () -> {
                String name = "java-" + UUID.randomUUID();
                String key = kms.call("CreateKey").text("KeyId");
                String other = kms.call("CreateKey").text("KeyId");
                kms.call("CreatePolicy", "Name", name, "Resources", "[\"key/" + key + "\"]",
                        "Permissions", "[\"RbacPermission/Template/CryptoServiceKeyUser\"]");
                kms.call("CreateApplicationAccessPoint", "Name", name, "Policies", "[\"" + name + "\"]");
                Leaves made = kms.call("CreateClientKey", "AapName", name, "Password", "opens-it-1");
                PrivateKey half = JavaCrypto.open(made.bytes("PrivateKeyData"), "opens-it-1").getPrivateKey();
                CoreSdk client = new CoreSdk(gateway,
                        new KeyPairCredentials(made.text("ClientKeyId"), Bytes.base64(half.getEncoded())),
                        format, MethodType.POST, new Coverage());
                String plaintext = Bytes.base64("signed with a client key");
                Leaves sealed = client.call("Encrypt", "KeyId", key, "Plaintext", plaintext);
                for (Kms opener : new Kms[] {client, kms}) {
                    Leaves opened = opener.call("Decrypt", "CiphertextBlob", sealed.text("CiphertextBlob"));
                    Steps.equal(plaintext, opened.text("Plaintext"));
                }
                Leaves dataKey = client.call("GenerateDataKey", "KeyId", key, "NumberOfBytes", 24);
                Steps.equal(24, dataKey.bytes("Plaintext").length);
                client.refused("Forbidden.NoPermission", 403, "Encrypt", "KeyId", other, "Plaintext", plaintext);
                client.refused("Forbidden.NoPermission", 403, "CreateKey");
                KeyPair stranger = JavaCrypto.rsaPair(2048);
                new CoreSdk(gateway, new KeyPairCredentials(made.text("ClientKeyId"),
                        Bytes.base64(stranger.getPrivate().getEncoded())),
                        format, MethodType.POST, new Coverage())
                        .refused("SDK.InvalidAccessKeySecret", 400, "Encrypt", "KeyId", key, "Plaintext", plaintext);
            });
        }
    }
}
