import com.aliyun.tea.TeaException;
import com.aliyuncs.kms.secretsmanager.client.v2.SecretCacheClient;
import com.aliyuncs.kms.secretsmanager.client.v2.SecretCacheClientBuilder;
import com.aliyuncs.kms.secretsmanager.client.v2.service.DefaultSecretManagerClientBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

/** Reads secrets with the second generation of the vendor's client for Java, as secrets_client.py says. */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        SecretCacheClientBuilder builder = SecretCacheClientBuilder.newCacheClientBuilder(
                new DefaultSecretManagerClientBuilder().withCustomConfigFile(arguments[0]).build());
        if (arguments.length > 1) {
            builder = builder.withCacheStage(arguments[1]);
        }
        SecretCacheClient client = builder.build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 2);
            try {
                print('=', read(client, words[0], words[1]));
            } catch (Exception refused) {
                StringBuilder causes = new StringBuilder();
                for (Throwable at = refused; at != null; at = at.getCause()) {
                    causes.append(at).append(' ');
                    if (at instanceof TeaException) {
                        causes.append(((TeaException) at).getCode()).append(' ');
                    }
                }
                print('!', causes.toString().getBytes(StandardCharsets.UTF_8));
            }
        }
        System.exit(0);
    }

    private static byte[] read(SecretCacheClient client, String how, String name) throws Exception {
        switch (how) {
            case "text":
                return client.getStringValue(name).getBytes(StandardCharsets.UTF_8);
            case "binary":
                ByteBuffer value = client.getBinaryValue(name);
                byte[] bytes = new byte[value.remaining()];
                value.get(bytes);
                return bytes;
            case "refresh":
                return String.valueOf(client.refreshNow(name)).getBytes(StandardCharsets.UTF_8);
            default:
                throw new IllegalArgumentException("no such way to read: " + how);
        }
    }

    private static void print(char sort, byte[] bytes) {
        System.out.println(sort + Base64.getEncoder().encodeToString(bytes));
    }
}
