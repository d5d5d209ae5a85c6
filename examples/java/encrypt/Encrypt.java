import com.aliyun.kms20160120.Client;
import com.aliyun.kms20160120.models.DecryptRequest;
import com.aliyun.kms20160120.models.EncryptRequest;
import com.aliyun.teaopenapi.models.Config;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;

/** Encrypts and decrypts with the official SDK (com.aliyun:kms20160120 1.2.3).
 *
 * <p>The address and the AccessKey are those that `hsmgate dev` prints. */
public final class Encrypt {
    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(System.getenv("HSMGATE_ENDPOINT"));
        Config config = new Config()
                .setEndpoint(endpoint.getAuthority())
                .setProtocol(endpoint.getScheme())
                .setAccessKeyId(System.getenv("HSMGATE_ACCESS_KEY_ID"))
                .setAccessKeySecret(System.getenv("HSMGATE_ACCESS_KEY_SECRET"));
        if (System.getenv("HSMGATE_CA_FILE") != null) {
            config.setCa(Files.readString(Path.of(System.getenv("HSMGATE_CA_FILE"))));
        }
        Client kms = new Client(config);

        String plaintext = Base64.getEncoder().encodeToString("hello".getBytes(StandardCharsets.UTF_8));
        String encrypted = kms.encrypt(new EncryptRequest().setKeyId("alias/demo").setPlaintext(plaintext))
                .getBody().getCiphertextBlob();
        System.out.println("encrypted: " + encrypted);

        String decrypted = kms.decrypt(new DecryptRequest().setCiphertextBlob(encrypted)).getBody().getPlaintext();
        System.out.println("decrypted: " + new String(Base64.getDecoder().decode(decrypted), StandardCharsets.UTF_8));
    }
}
