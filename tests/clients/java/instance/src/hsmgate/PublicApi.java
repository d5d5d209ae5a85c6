package hsmgate;

import com.aliyuncs.AcsResponse;
import com.aliyuncs.DefaultAcsClient;
import com.aliyuncs.RpcAcsRequest;
import com.aliyuncs.http.HttpClientConfig;
import com.aliyuncs.http.ProtocolType;
import com.aliyuncs.kms.model.v20160120.CreateApplicationAccessPointRequest;
import com.aliyuncs.kms.model.v20160120.CreateClientKeyRequest;
import com.aliyuncs.kms.model.v20160120.CreateClientKeyResponse;
import com.aliyuncs.kms.model.v20160120.CreateKeyRequest;
import com.aliyuncs.kms.model.v20160120.CreateKeyVersionRequest;
import com.aliyuncs.kms.model.v20160120.CreatePolicyRequest;
import com.aliyuncs.kms.model.v20160120.DecryptRequest;
import com.aliyuncs.kms.model.v20160120.DeleteClientKeyRequest;
import com.aliyuncs.kms.model.v20160120.EncryptRequest;
import com.aliyuncs.profile.DefaultProfile;
import java.util.Locale;
import java.util.UUID;
import javax.net.ssl.X509TrustManager;

/** The public API beside an instance, by the SDK that the transfer client builds on. */
final class PublicApi {
    static final String PASSWORD = "Opens-it-1";

    private final DefaultAcsClient client;
    private final Gateway gateway;

    PublicApi(Gateway gateway) throws Exception {
        this(gateway, new DefaultAcsClient(profile(gateway)));
    }

    PublicApi(Gateway gateway, DefaultAcsClient client) {
        this.gateway = gateway;
        this.client = client;
    }

    static DefaultProfile profile(Gateway gateway) throws Exception {
        DefaultProfile profile = DefaultProfile.getProfile(
                gateway.region(), gateway.get("access_key_id"), gateway.get("access_key_secret"));
        HttpClientConfig http = HttpClientConfig.getDefault();
        http.setConnectionTimeoutMillis(10_000);
        http.setReadTimeoutMillis(60_000);
        // The SDK keeps one HTTP client for the process, and with it the trust of whoever comes first.
        http.setX509TrustManagers(
                new X509TrustManager[] {Trust.in(Gateway.named("HSMGATE_TLS_DEV_JSON").ca())});
        profile.setHttpClientConfig(http);
        return profile;
    }

    <T extends AcsResponse> T call(RpcAcsRequest<T> request) throws Exception {
        request.setSysProtocol(ProtocolType.valueOf(gateway.protocol().toUpperCase(Locale.ROOT)));
        request.setSysEndpoint(gateway.address());
        return client.getAcsResponse(request);
    }

    String newKey(String spec, String usage) throws Exception {
        CreateKeyRequest request = new CreateKeyRequest();
        request.setKeySpec(spec);
        request.setKeyUsage(usage);
        return call(request).getKeyMetadata().getKeyId();
    }

    String newKey() throws Exception {
        return newKey("Aliyun_AES_256", "ENCRYPT/DECRYPT");
    }

    String newVersion(String key) throws Exception {
        CreateKeyVersionRequest request = new CreateKeyVersionRequest();
        request.setKeyId(key);
        return call(request).getKeyVersion().getKeyVersionId();
    }

    String encrypt(String key, String base64, String context) throws Exception {
        EncryptRequest request = new EncryptRequest();
        request.setKeyId(key);
        request.setPlaintext(base64);
        request.setEncryptionContext(context);
        return call(request).getCiphertextBlob();
    }

    String decrypt(String blob, String context) throws Exception {
        DecryptRequest request = new DecryptRequest();
        request.setCiphertextBlob(blob);
        request.setEncryptionContext(context);
        return call(request).getPlaintext();
    }

    /** A client key for these resources, as the JSON that the instance SDK takes as content. */
    ClientKey newClientKey(String resources) throws Exception {
        String name = "java-" + UUID.randomUUID();
        CreatePolicyRequest policy = new CreatePolicyRequest();
        policy.setName(name);
        policy.setPermissions("[\"RbacPermission/Template/CryptoServiceKeyUser\"]");
        policy.setResources(resources);
        call(policy);
        CreateApplicationAccessPointRequest point = new CreateApplicationAccessPointRequest();
        point.setName(name);
        point.setPolicies("[\"" + name + "\"]");
        call(point);
        CreateClientKeyRequest request = new CreateClientKeyRequest();
        request.setAapName(name);
        request.setPassword(PASSWORD);
        CreateClientKeyResponse made = call(request);
        return new ClientKey(made.getClientKeyId(), "{\"KeyId\":\"" + made.getClientKeyId()
                + "\",\"PrivateKeyData\":\"" + made.getPrivateKeyData() + "\"}");
    }

    void delete(ClientKey clientKey) throws Exception {
        DeleteClientKeyRequest request = new DeleteClientKeyRequest();
        request.setClientKeyId(clientKey.id());
        call(request);
    }

    record ClientKey(String id, String content) {}
}
