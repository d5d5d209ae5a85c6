package hsmgate;

import com.aliyun.kms20160120.Client;
import com.aliyun.kms20160120.models.DecryptRequest;
import com.aliyun.kms20160120.models.EncryptRequest;
import com.aliyun.teaopenapi.models.Config;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashSet;
import java.util.Set;

/**
 * Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint: default|oidc. With
 * RENEWALS it goes on until the credentials were renewed so often.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        com.aliyun.credentials.Client credential = credential(arguments[0]);
        Config config = new Config()
                .setCredential(credential)
                .setEndpoint(System.getenv("ENDPOINT"))
                .setProtocol(System.getenv("SCHEME"))
                .setRegionId("cn-hangzhou");
        if (config.protocol.equals("https")) {
            config.setCa(Files.readString(Path.of(System.getenv("CA_FILE"))));
        }
        Client client = new Client(config);
        int renewals = Integer.parseInt(System.getenv().getOrDefault("RENEWALS", "0"));
        Set<String> sessions = new HashSet<>();
        long begun = System.nanoTime();
        for (int calls = 0; calls < 3 || sessions.size() <= renewals; calls++) {
            encrypt(client);
            sessions.add(credential.getCredential().getAccessKeyId());
            if (System.nanoTime() - begun > 60_000_000_000L) {
                throw new AssertionError(sessions.size() + " sessions");
            }
        }
        System.out.println("passed");
    }

    private static com.aliyun.credentials.Client credential(String way) {
        if (way.equals("default")) {
            return new com.aliyun.credentials.Client();
        }
        return new com.aliyun.credentials.Client(new com.aliyun.credentials.models.Config()
                .setType("oidc_role_arn")
                .setRoleArn(System.getenv("ROLE_ARN"))
                .setOidcProviderArn(System.getenv("PROVIDER_ARN"))
                .setOidcTokenFilePath(System.getenv("TOKEN_FILE"))
                .setRoleSessionName("java-1")
                .setSTSEndpoint(System.getenv("STS_ENDPOINT")));
    }

    private static void encrypt(Client client) throws Exception {
        String plaintext = Base64.getEncoder().encodeToString("identity".getBytes());
        EncryptRequest encrypt = new EncryptRequest().setKeyId(System.getenv("KEY")).setPlaintext(plaintext);
        String blob = client.encrypt(encrypt).getBody().getCiphertextBlob();
        DecryptRequest decrypt = new DecryptRequest().setCiphertextBlob(blob);
        if (!client.decrypt(decrypt).getBody().getPlaintext().equals(plaintext)) {
            throw new AssertionError("another plaintext");
        }
    }
}
