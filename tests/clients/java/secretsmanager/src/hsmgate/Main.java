package hsmgate;

import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import com.aliyuncs.CommonRequest;
import com.aliyuncs.DefaultAcsClient;
import com.aliyuncs.exceptions.ClientException;
import com.aliyuncs.http.HttpClientConfig;
import com.aliyuncs.http.MethodType;
import com.aliyuncs.http.ProtocolType;
import com.aliyuncs.kms.secretsmanager.client.SecretCacheClient;
import com.aliyuncs.kms.secretsmanager.client.SecretCacheClientBuilder;
import com.aliyuncs.kms.secretsmanager.client.exception.CacheSecretException;
import com.aliyuncs.kms.secretsmanager.client.service.DefaultSecretManagerClientBuilder;
import com.aliyuncs.profile.DefaultProfile;
import com.google.gson.Gson;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.UUID;

/** The first generation of the vendor's secrets client, with the file of settings that docs/secrets.md shows.
 *
 * <p>It speaks https only. With an AccessKey, and with a client key for the public API, it asks for XML. */
public final class Main {
    private static final String PASSWORD = "Opens-it_1";

    private final Steps steps = new Steps();
    private final Gateway gateway;
    private final Public kms;
    private final Path folder = Files.createTempDirectory("secrets");

    private Main(Gateway gateway) throws Exception {
        this.gateway = gateway;
        this.kms = new Public(gateway);
    }

    public static void main(String[] arguments) throws Exception {
        new Main(Gateway.named("HSMGATE_TLS_DEV_JSON")).all();
    }

    private void all() throws Exception {
        steps.step("makes-a-client-key-for-secrets", this::createClientKey);
        for (String settings : new String[] {"access-key", "client-key", "instance"}) {
            steps.step(settings + "-reads-every-value-byte-for-byte", () -> {
                SecretCacheClient client = client(settings);
                for (Map.Entry<String, String> value : Secrets.VALUES.entrySet()) {
                    reads(client, settings, value.getKey(), value.getValue());
                }
            });
            steps.step(settings + "-keeps-a-value-until-it-is-refreshed", () -> {
                SecretCacheClient client = client(settings);
                String name = create("first", "text");
                equal("first", client.getStringValue(name));
                kms.call("PutSecretValue", "SecretName", name, "VersionId", "v2", "SecretData", "second");
                equal("first", client.getStringValue(name));
                holds(client.refreshNow(name), "it is not refreshed");
                equal("second", client.getStringValue(name));
                equal("v2", client.getSecretInfo(name).getVersionId());
            });
            steps.step(settings + "-shows-the-code-of-a-missing-secret", () -> {
                SecretCacheClient client = client(settings);
                shows("Forbidden.ResourceNotFound", client, "read/none");
            });
        }
        for (String settings : new String[] {"client-key", "instance"}) {
            steps.step(settings + "-reads-no-other-secret", () -> {
                SecretCacheClient client = client(settings);
                shows("Forbidden.NoPermission", client, "other");
            });
        }
        steps.step("the-example-reads-a-secret", this::runsTheExample);
        steps.finish();
    }

    /** Runs examples/java/secret/Secret.java where the file of settings has the name that the client expects. */
    private void runsTheExample() throws Exception {
        Path directory = Files.createDirectory(folder.resolve("example"));
        Files.writeString(directory.resolve("secretsmanager.properties"), settings("access-key"));
        String name = create("from the example", "text");
        equal("from the example\n", Example.output(directory, Map.of(), "Secret", name));
    }

    private void reads(SecretCacheClient client, String settings, String about, String value) throws Exception {
        String text = create(value, "text");
        if (Secrets.NOT_IN_XML.contains(about)) {
            // It writes the answer of an instance as XML itself.
            shows(settings.equals("instance") ? "SDK.InvalidXMLFormat" : "InvalidParameter", client, text);
            return;
        }
        holds(value.equals(client.getStringValue(text)), about + " is another value");
        byte[] bytes = Bytes.utf8(value);
        byte[] read = new byte[bytes.length];
        client.getBinaryValue(create(value, "binary")).get(read);
        holds(Arrays.equals(bytes, read), about + " are other bytes");
    }

    private String create(String value, String type) throws Exception {
        String name = "read/" + UUID.randomUUID();
        kms.call("CreateSecret", "SecretName", name, "VersionId", "v1", "SecretData", value, "SecretDataType", type);
        return name;
    }

    private void createClientKey() throws Exception {
        String name = "java-" + UUID.randomUUID();
        kms.call("CreatePolicy", "Name", name, "Permissions",
                "[\"RbacPermission/Template/CryptoServiceSecretUser\"]", "Resources", "[\"secret/read/*\"]");
        kms.call("CreateApplicationAccessPoint", "Name", name, "Policies", "[\"" + name + "\"]");
        Leaves made = kms.call("CreateClientKey", "AapName", name, "Password", PASSWORD);
        Files.writeString(folder.resolve("client-key.json"), Json.text(Map.of("KeyId", made.text("ClientKeyId"),
                "PrivateKeyData", made.text("PrivateKeyData"))));
        Files.writeString(folder.resolve("password"), PASSWORD);
    }

    /** A client that is built from a file of settings. It stays open: its `close` closes the HTTP client that
     * every client of the SDK in this process uses. */
    private SecretCacheClient client(String settings) throws Exception {
        Path file = Files.writeString(folder.resolve(settings + ".properties"), settings(settings));
        return SecretCacheClientBuilder.newCacheClientBuilder(
                new DefaultSecretManagerClientBuilder().withCustomConfigFile(file.toString()).build()).build();
    }

    /** The text of a file of settings, for this gateway. */
    private String settings(String settings) throws Exception {
        String name = settings + ".properties";
        return Files.readString(Path.of(System.getenv("HSMGATE_SETTINGS"), name))
                .replace("kms.example:8443", gateway.address())
                .replace("/etc/hsmgate/ca.pem", gateway.get("ca_file"))
                .replace("/etc/hsmgate/client-key-password", folder.resolve("password").toString())
                .replace("/etc/hsmgate/client-key.json", folder.resolve("client-key.json").toString())
                .replace("LTAI-example", gateway.get("access_key_id"))
                .replace("secret-example", gateway.get("access_key_secret"));
    }

    private static void shows(String code, SecretCacheClient client, String name) {
        try {
            client.getStringValue(name);
        } catch (CacheSecretException refusal) {
            StringBuilder causes = new StringBuilder();
            for (Throwable at = refusal; at != null; at = at.getCause()) {
                causes.append(at).append(' ');
            }
            holds(causes.toString().contains(code), causes.toString());
            return;
        }
        throw new AssertionError("it was read");
    }

    /** The public API, with calls by name. */
    private static final class Public extends Kms {
        private final Gateway gateway;
        private final DefaultAcsClient client;

        Public(Gateway gateway) {
            this.gateway = gateway;
            DefaultProfile profile = DefaultProfile.getProfile(
                    gateway.region(), gateway.get("access_key_id"), gateway.get("access_key_secret"));
            HttpClientConfig http = HttpClientConfig.getDefault();
            // As the secrets client does: the SDK keeps one HTTP client for the process.
            http.setIgnoreSSLCerts(true);
            http.setReadTimeoutMillis(60_000);
            profile.setHttpClientConfig(http);
            client = new DefaultAcsClient(profile);
        }

        @Override
        protected Leaves send(String action, Map<String, Object> parameters) throws ClientException {
            CommonRequest request = new CommonRequest();
            request.setSysProtocol(ProtocolType.HTTPS);
            request.setSysDomain(gateway.address());
            request.setSysVersion("2016-01-20");
            request.setSysAction(action);
            request.setSysMethod(MethodType.POST);
            parameters.forEach((name, value) -> request.putBodyParameter(name, value));
            return Leaves.ofTree(new Gson().fromJson(client.getCommonResponse(request).getData(), Map.class));
        }
    }
}
