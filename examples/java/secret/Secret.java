import com.aliyuncs.kms.secretsmanager.client.SecretCacheClient;
import com.aliyuncs.kms.secretsmanager.client.SecretCacheClientBuilder;

/** Reads a secret with the vendor's client (com.aliyun:alibabacloud-secretsmanager-client 1.3.7).
 *
 * <p>The settings are in the environment or in the file `secretsmanager.properties`: docs/secrets.md. The client keeps
 * the value in memory and refreshes it every hour. */
public final class Secret {
    public static void main(String[] arguments) throws Exception {
        try (SecretCacheClient client = SecretCacheClientBuilder.newClient()) {
            System.out.println(client.getStringValue(arguments[0]));
        }
        // A thread of the client still runs after `close`.
        System.exit(0);
    }
}
