package hsmgate;

import com.aliyun.kms20160120.Client;
import com.aliyun.kms20160120.models.DecryptRequest;
import com.aliyun.kms20160120.models.EncryptRequest;
import com.aliyun.teaopenapi.models.Config;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;

/** Encrypts with the OIDC provider, whose endpoint of STS is the gateway: HOST:PORT KEY CA. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        String endpoint = arguments[0];
        com.aliyun.credentials.models.Config credential = new com.aliyun.credentials.models.Config()
                .setType("oidc_role_arn")
                .setRoleArn(System.getenv("ROLE_ARN"))
                .setOidcProviderArn(System.getenv("PROVIDER_ARN"))
                .setOidcTokenFilePath(System.getenv("TOKEN_FILE"))
                .setRoleSessionName("java-1")
                .setSTSEndpoint(endpoint);
        Config config = new Config()
                .setCredential(new com.aliyun.credentials.Client(credential))
                .setEndpoint(endpoint)
                .setProtocol("https")
                .setRegionId("cn-hangzhou")
                .setCa(Files.readString(Path.of(arguments[2])));
        Client client = new Client(config);
        String plaintext = Base64.getEncoder().encodeToString("identity".getBytes());
        for (int call = 0; call < 3; call++) {
            EncryptRequest encrypt = new EncryptRequest().setKeyId(arguments[1]).setPlaintext(plaintext);
            String blob = client.encrypt(encrypt).getBody().getCiphertextBlob();
            DecryptRequest decrypt = new DecryptRequest().setCiphertextBlob(blob);
            if (!client.decrypt(decrypt).getBody().getPlaintext().equals(plaintext)) {
                throw new AssertionError("another plaintext");
            }
        }
        System.out.println("passed");
    }
}
