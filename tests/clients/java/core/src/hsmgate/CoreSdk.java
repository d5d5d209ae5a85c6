package hsmgate;

import com.aliyuncs.AcsRequest;
import com.aliyuncs.AcsResponse;
import com.aliyuncs.CommonRequest;
import com.aliyuncs.DefaultAcsClient;
import com.aliyuncs.auth.AlibabaCloudCredentials;
import com.aliyuncs.auth.BasicCredentials;
import com.aliyuncs.auth.BasicSessionCredentials;
import com.aliyuncs.auth.SignatureVersion;
import com.aliyuncs.auth.StaticCredentialsProvider;
import com.aliyuncs.auth.signers.SignatureAlgorithm;
import com.aliyuncs.exceptions.ClientException;
import com.aliyuncs.http.FormatType;
import com.aliyuncs.http.HttpClientConfig;
import com.aliyuncs.http.HttpResponse;
import com.aliyuncs.http.MethodType;
import com.aliyuncs.http.ProtocolType;
import com.aliyuncs.profile.DefaultProfile;
import com.google.gson.Gson;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarFile;
import javax.net.ssl.X509TrustManager;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Element;
import org.w3c.dom.Node;

/** `com.aliyun:aliyun-java-sdk-core` with `aliyun-java-sdk-kms`, by its typed requests and answers. */
final class CoreSdk extends Kms {
    private static final String MODELS = "com.aliyuncs.kms.model.v20160120.";

    private final Recording client;
    private final Gateway gateway;
    private final FormatType format;
    private final MethodType method;
    private final Coverage coverage;

    /** The client, unchanged but for keeping what was sent before it is made into the typed answer. */
    private static final class Recording extends DefaultAcsClient {
        private final ThreadLocal<HttpResponse> last = new ThreadLocal<>();

        Recording(DefaultProfile profile, AlibabaCloudCredentials credentials) {
            super(profile, new StaticCredentialsProvider(credentials));
        }

        @Override
        public <T extends AcsResponse> HttpResponse doAction(AcsRequest<T> request) throws ClientException {
            HttpResponse answer = super.doAction(request);
            last.set(answer);
            return answer;
        }
    }

    CoreSdk(Gateway gateway, FormatType format, MethodType method, Coverage coverage) throws Exception {
        this(gateway, credentials(gateway), format, method, coverage);
    }

    CoreSdk(Gateway gateway, AlibabaCloudCredentials credentials, FormatType format, MethodType method, Coverage coverage)
            throws Exception {
        this.gateway = gateway;
        this.format = format;
        this.method = method;
        this.coverage = coverage;
        this.client = new Recording(profile(gateway), credentials);
    }

    private static DefaultProfile profile(Gateway gateway) throws Exception {
        HttpClientConfig http = HttpClientConfig.getDefault();
        http.setConnectionTimeoutMillis(10_000);
        http.setReadTimeoutMillis(60_000);
        // The SDK keeps one HTTP client for the process, and with it the trust of whoever comes first.
        String cas = Gateway.named("HSMGATE_TLS_DEV_JSON").ca() + Gateway.named("HSMGATE_TEXT_DEV_JSON").ca();
        http.setX509TrustManagers(new X509TrustManager[] {Trust.in(cas)});
        DefaultProfile profile = DefaultProfile.getProfile(gateway.region());
        profile.setHttpClientConfig(http);
        return profile;
    }

    /** Each request is told where to go, by which scheme: https unless it is set. */
    private <T extends AcsResponse> AcsRequest<T> addressed(AcsRequest<T> request) {
        request.setSysProtocol(ProtocolType.valueOf(gateway.protocol().toUpperCase(Locale.ROOT)));
        request.setSysEndpoint(gateway.address());
        request.setSysAcceptFormat(format);
        request.setSysMethod(method);
        return request;
    }

    private static AlibabaCloudCredentials credentials(Gateway gateway) {
        String id = gateway.get("access_key_id");
        String secret = gateway.get("access_key_secret");
        String token = gateway.get("security_token");
        return token == null ? new BasicCredentials(id, secret) : new BasicSessionCredentials(id, secret, token);
    }

    CoreSdk signingWithAcs3() {
        client.setSignatureVersion(SignatureVersion.V3);
        client.setSignatureAlgorithm(SignatureAlgorithm.ACS3_HMAC_SHA256);
        return this;
    }

    @Override
    public boolean readsXml() {
        return format == FormatType.XML;
    }

    /** It reads the escape of NUL as the text `u0000`. */
    @Override
    public boolean readsEscapes() {
        return false;
    }

    /** The operations that it has classes for. */
    static Set<String> operations() throws Exception {
        Set<String> operations = new TreeSet<>();
        File jar = new File(Class.forName(MODELS + "EncryptRequest").getProtectionDomain().getCodeSource()
                .getLocation().toURI());
        try (JarFile entries = new JarFile(jar)) {
            entries.stream()
                    .map(entry -> entry.getName().replaceFirst(".*/", ""))
                    .filter(name -> name.matches("\\w+Request\\.class"))
                    .forEach(name -> operations.add(name.replace("Request.class", "")));
        }
        return operations;
    }

    @Override
    protected Leaves send(String action, Map<String, Object> parameters) throws Exception {
        client.last.remove();
        try {
            return operations().contains(action) ? typed(action, parameters) : untyped(action, parameters);
        } catch (ClientException refusal) {
            HttpResponse answer = client.last.get();
            if (refusal.getRequestId() == null && answer == null) {
                throw refusal;
            }
            throw new Refused(refusal.getErrCode(), answer == null ? 0 : answer.getStatus(), refusal.getErrMsg(),
                    refusal.getRequestId(), refusal);
        }
    }

    private Leaves typed(String action, Map<String, Object> parameters) throws Exception {
        Object made = Class.forName(MODELS + action + "Request").getConstructor().newInstance();
        parameters.remove("RegionId");
        Models.set(made, parameters, false);
        @SuppressWarnings("unchecked")
        AcsRequest<AcsResponse> request = (AcsRequest<AcsResponse>) made;
        AcsResponse response = client.getAcsResponse(addressed(request));
        Leaves sent = sent(client.last.get().getHttpContentString());
        coverage.answered(action, response, sent);
        return sent;
    }

    /** What its users write where it has no class yet. */
    private Leaves untyped(String action, Map<String, Object> parameters) throws Exception {
        CommonRequest request = new CommonRequest();
        request.setSysProtocol(ProtocolType.valueOf(gateway.protocol().toUpperCase(Locale.ROOT)));
        request.setSysDomain(gateway.address());
        request.setSysVersion("2016-01-20");
        request.setSysAction(action);
        request.setSysMethod(method);
        parameters.forEach((name, value) -> request.putQueryParameter(name, String.valueOf(value)));
        return sent(client.getCommonResponse(request).getData());
    }

    private static Leaves sent(String text) throws Exception {
        if (!text.startsWith("<")) {
            return Leaves.ofTree(new Gson().fromJson(text, Map.class));
        }
        Leaves leaves = new Leaves();
        add(DocumentBuilderFactory.newInstance().newDocumentBuilder()
                .parse(new ByteArrayInputStream(Bytes.utf8(text))).getDocumentElement(), leaves);
        return leaves;
    }

    private static void add(Element element, Leaves leaves) {
        boolean isLeaf = true;
        for (Node child = element.getFirstChild(); child != null; child = child.getNextSibling()) {
            if (child instanceof Element inner) {
                isLeaf = false;
                add(inner, leaves);
            }
        }
        if (isLeaf) {
            leaves.add(element.getTagName(), element.getTextContent());
        }
    }
}
