package hsmgate;

import static hsmgate.Steps.differ;
import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import com.alibaba.nacos.api.exception.NacosException;
import com.alibaba.nacos.client.aliyun.AliyunConfigFilter;
import com.alibaba.nacos.client.config.filter.impl.ConfigRequest;
import com.alibaba.nacos.client.config.filter.impl.ConfigResponse;
import com.aliyun.kms20160120.Client;
import com.aliyun.kms20160120.models.CreateAliasRequest;
import com.aliyun.kms20160120.models.CreateKeyRequest;
import com.aliyun.kms20160120.models.DecryptRequest;
import com.aliyun.kms20160120.models.DescribeKeyRequest;
import com.aliyun.kms20160120.models.ScheduleKeyDeletionRequest;
import com.aliyun.tea.TeaException;
import com.aliyun.teaopenapi.models.Config;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.UUID;

/** The extension with which Nacos encrypts configurations, driven as the Nacos client drives it.
 *
 * <p>It speaks https only. `cipher-<name>` is encrypted by the KMS as it stands, so the gateway has to take
 * plaintext that is no Base64; `cipher-kms-aes-<bits>-<name>` by a data key, in the program. */
public final class Main {
    private static final String CONTENT = "shop:\n  name: \"Grüße\"\n  <tag>: 杭州 & 'more'\n";

    private final Steps steps;
    private final Gateway gateway;
    private final Client kms;

    private Main(Steps steps, Gateway gateway) throws Exception {
        this.steps = steps;
        this.gateway = gateway;
        this.kms = new Client(new Config()
                .setAccessKeyId(gateway.get("access_key_id"))
                .setAccessKeySecret(gateway.get("access_key_secret"))
                .setRegionId(gateway.region())
                .setEndpoint(gateway.address())
                .setCa(gateway.ca())
                .setConnectTimeout(10_000)
                .setReadTimeout(60_000));
    }

    public static void main(String[] arguments) throws Exception {
        // Without a Nacos server its client would write its own logs below the home directory.
        System.setProperty("nacos.logging.default.config.enabled", "false");
        // Decrypt is to be called, and not taken from what Encrypt has left.
        System.setProperty("nacos.config.encryption.kms.local.cache.switch", "false");
        Steps steps = new Steps();
        new Main(steps, Gateway.named("HSMGATE_TEXT_DEV_JSON")).all();
        steps.finish();
    }

    private Properties properties(String key) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("kmsEndpoint", gateway.address());
        properties.setProperty("regionId", gateway.region());
        properties.setProperty("keyId", key);
        properties.setProperty("kmsCaFileContent", gateway.ca());
        return properties;
    }

    private AliyunConfigFilter byAccessKey(String key) throws Exception {
        Properties properties = properties(key);
        properties.setProperty("accessKey", gateway.get("access_key_id"));
        properties.setProperty("secretKey", gateway.get("access_key_secret"));
        return initialized(properties);
    }

    private AliyunConfigFilter byClientKey(String key) throws Exception {
        Properties properties = properties(key);
        properties.setProperty("kmsClientKeyFilePath", gateway.get("client_key_file"));
        properties.setProperty("kmsPasswordKey", Files.readString(Path.of(gateway.get("client_key_password_file"))));
        properties.setProperty("kmsCaFilePath", gateway.get("ca_file"));
        return initialized(properties);
    }

    private static AliyunConfigFilter initialized(Properties properties) {
        AliyunConfigFilter filter = new AliyunConfigFilter();
        filter.init(properties);
        return filter;
    }

    private static ConfigRequest sealed(AliyunConfigFilter filter, String dataId) throws NacosException {
        ConfigRequest request = new ConfigRequest();
        request.setDataId(dataId);
        request.setGroup("DEFAULT_GROUP");
        request.setTenant("");
        request.setContent(CONTENT);
        filter.doFilter(request, null, (sent, received) -> { });
        return request;
    }

    private static String opened(AliyunConfigFilter filter, ConfigRequest sealed) throws NacosException {
        ConfigResponse response = new ConfigResponse();
        response.setDataId(sealed.getDataId());
        response.setGroup(sealed.getGroup());
        response.setTenant("");
        response.setContent(sealed.getContent());
        response.setEncryptedDataKey(sealed.getEncryptedDataKey());
        filter.doFilter(null, response, (sent, received) -> { });
        return response.getContent();
    }

    private String newKey() throws Exception {
        return kms.createKey(new CreateKeyRequest()).getBody().getKeyMetadata().getKeyId();
    }

    private String newAlias() throws Exception {
        String alias = "alias/nacos/" + UUID.randomUUID();
        kms.createAlias(new CreateAliasRequest().setKeyId(newKey()).setAliasName(alias));
        return alias;
    }

    private void all() throws Exception {
        String key = newKey();
        String alias = newAlias();
        AliyunConfigFilter byAccessKey = byAccessKey(key);
        steps.step("leaves-a-plain-configuration-alone", () -> {
            ConfigRequest request = sealed(byAccessKey, "shop.yaml");
            equal(CONTENT, request.getContent());
            equal(CONTENT, opened(byAccessKey, request));
        });
        steps.step("encrypts-a-configuration-with-an-access-key", () -> {
            ConfigRequest request = sealed(byAccessKey, "cipher-shop.yaml");
            differ(CONTENT, request.getContent());
            equal(CONTENT, opened(byAccessKey, request));
            equal(CONTENT, kms.decrypt(new DecryptRequest().setCiphertextBlob(request.getContent()))
                    .getBody().getPlaintext());
        });
        for (String bits : new String[] {"128", "256"}) {
            steps.step("encrypts-a-configuration-with-a-data-key-of-" + bits + "-bits", () -> {
                ConfigRequest request = sealed(byAccessKey, "cipher-kms-aes-" + bits + "-shop.yaml");
                differ(CONTENT, request.getContent());
                equal(CONTENT, opened(byAccessKey, request));
                String dataKey = kms.decrypt(new DecryptRequest().setCiphertextBlob(request.getEncryptedDataKey()))
                        .getBody().getPlaintext();
                equal(Integer.parseInt(bits) / 8, Bytes.bytes(dataKey).length);
            });
        }
        steps.step("encrypts-by-an-alias", () -> {
            AliyunConfigFilter filter = byAccessKey(alias);
            equal(CONTENT, opened(filter, sealed(filter, "cipher-shop.yaml")));
        });
        steps.step("opens-what-another-client-has-sealed", () ->
                equal(CONTENT, opened(byAccessKey(alias), sealed(byAccessKey, "cipher-kms-aes-256-other.yaml"))));
        steps.step("protects-every-key-that-it-uses-from-deletion", () -> {
            awaitProtection(key);
            try {
                kms.scheduleKeyDeletion(new ScheduleKeyDeletionRequest().setKeyId(key).setPendingWindowInDays(7));
            } catch (TeaException refusal) {
                equal("Rejected.UnsupportedOperation", refusal.getCode());
                return;
            }
            throw new AssertionError("the key can be deleted");
        });
        steps.step("shows-the-code-of-a-key-that-is-not-there", () ->
                shows("Forbidden.KeyNotFound", byAccessKey("00000000-0000-4000-8000-000000000001")));
        steps.step("shows-the-code-of-its-default-alias-that-is-not-there", () ->
                shows("Forbidden.AliasNotFound", byAccessKey("alias/acs/mse")));
        steps.step("encrypts-a-configuration-with-a-client-key", () -> {
            AliyunConfigFilter filter = byClientKey(key);
            ConfigRequest request = sealed(filter, "cipher-shop.yaml");
            differ(CONTENT, request.getContent());
            equal(CONTENT, opened(filter, request));
        });
        for (String bits : new String[] {"128", "256"}) {
            steps.step("encrypts-with-a-client-key-and-a-data-key-of-" + bits + "-bits", () -> {
                AliyunConfigFilter filter = byClientKey(key);
                ConfigRequest request = sealed(filter, "cipher-kms-aes-" + bits + "-shop.yaml");
                differ(CONTENT, request.getContent());
                equal(CONTENT, opened(filter, request));
            });
        }
        steps.step("opens-with-an-access-key-what-a-client-key-has-sealed", () ->
                equal(CONTENT, opened(byAccessKey, sealed(byClientKey(key), "cipher-kms-aes-256-both.yaml"))));
    }

    /** The extension sets the protection in a thread of its own. */
    private void awaitProtection(String key) throws Exception {
        long limit = System.nanoTime() + 20_000_000_000L;
        while (!"Enabled".equals(kms.describeKey(new DescribeKeyRequest().setKeyId(key))
                .getBody().getKeyMetadata().getDeletionProtection())) {
            holds(System.nanoTime() < limit, "the key is not protected");
            Thread.sleep(100);
        }
    }

    private static void shows(String code, AliyunConfigFilter filter) {
        try {
            sealed(filter, "cipher-kms-aes-256-shop.yaml");
        } catch (NacosException refusal) {
            StringBuilder causes = new StringBuilder();
            for (Throwable at = refusal; at != null; at = at.getCause()) {
                causes.append(at).append(' ');
                if (at instanceof TeaException cause) {
                    causes.append(cause.getCode()).append(' ');
                }
            }
            holds(causes.toString().contains(code), causes.toString());
            return;
        }
        throw new AssertionError("it was encrypted");
    }
}
