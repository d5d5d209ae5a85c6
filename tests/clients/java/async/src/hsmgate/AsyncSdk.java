package hsmgate;

import com.aliyun.auth.credentials.Credential;
import com.aliyun.auth.credentials.provider.StaticCredentialProvider;
import com.aliyun.httpcomponent.httpclient.ApacheAsyncHttpClientBuilder;
import com.aliyun.sdk.gateway.pop.Configuration;
import com.aliyun.sdk.gateway.pop.auth.SignatureVersion;
import com.aliyun.sdk.gateway.pop.exception.PopClientException;
import com.aliyun.sdk.gateway.pop.exception.PopServerException;
import com.aliyun.sdk.service.kms20160120.AsyncClient;
import darabonba.core.client.ClientOverrideConfiguration;
import java.lang.reflect.Method;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.X509TrustManager;

/** `com.aliyun:alibabacloud-kms20160120`, by its typed builders and futures. */
final class AsyncSdk extends Kms {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final AsyncClient client;
    private final Coverage coverage;

    AsyncSdk(Gateway gateway, SignatureVersion signature, Coverage coverage) throws Exception {
        this.client = client(gateway, signature);
        this.coverage = coverage;
    }

    private static AsyncClient client(Gateway gateway, SignatureVersion signature) throws Exception {
        Credential.Builder credential = Credential.builder()
                .accessKeyId(gateway.get("access_key_id"))
                .accessKeySecret(gateway.get("access_key_secret"));
        if (gateway.get("security_token") != null) {
            credential.securityToken(gateway.get("security_token"));
        }
        ApacheAsyncHttpClientBuilder http = new ApacheAsyncHttpClientBuilder()
                .connectionTimeout(LIMIT)
                .responseTimeout(LIMIT);
        if (gateway.protocol().equals("https")) {
            http.x509TrustManagers(new X509TrustManager[] {Trust.in(gateway.ca())});
        }
        return AsyncClient.builder()
                .region(gateway.region())
                .httpClient(http.build())
                .credentialsProvider(StaticCredentialProvider.create(credential.build()))
                .serviceConfiguration(Configuration.create().setSignatureVersion(signature))
                .overrideConfiguration(ClientOverrideConfiguration.create()
                        .setEndpointOverride(gateway.address())
                        .setProtocol(gateway.protocol().toUpperCase(Locale.ROOT))
                        .setConnectTimeout(LIMIT)
                        .setResponseTimeout(LIMIT))
                .build();
    }

    /** The operations that it has methods for. */
    static Set<String> operations() {
        Set<String> operations = new TreeSet<>();
        for (Method method : AsyncClient.class.getMethods()) {
            if (method.getReturnType() == CompletableFuture.class) {
                String name = method.getName();
                operations.add(name.substring(0, 1).toUpperCase(Locale.ROOT) + name.substring(1));
            }
        }
        return operations;
    }

    @Override
    public boolean knows(String action) {
        return operations().contains(action);
    }

    @Override
    public boolean checksParameters() {
        return true;
    }

    /** Calls an operation with something in every parameter that the SDK does not send without. */
    void refusedWithAnything(String code, int status, String operation) throws Exception {
        List<Object> parameters = new ArrayList<>();
        for (int number = 0; number < 20; number++) {
            try {
                refused(code, status, operation, parameters.toArray());
                return;
            } catch (ExecutionException unsent) {
                String reason = String.valueOf(unsent.getCause());
                Matcher missing = Pattern.compile("Field (\\w+) is required").matcher(reason);
                if (!missing.find()) {
                    throw unsent;
                }
                parameters.addAll(List.of(missing.group(1), "7"));
            }
        }
        throw new AssertionError(operation + " wants more and more");
    }

    @Override
    protected Leaves send(String action, Map<String, Object> parameters) throws Exception {
        Class<?> type = Class.forName("com.aliyun.sdk.service.kms20160120.models." + action + "Request");
        Object builder = type.getMethod("builder").invoke(null);
        Models.set(builder, parameters, true);
        Method build = builder.getClass().getMethod("build");
        String method = action.substring(0, 1).toLowerCase(Locale.ROOT) + action.substring(1);
        Object response;
        try {
            response = ((CompletableFuture<?>) AsyncClient.class.getMethod(method, type)
                    .invoke(client, build.invoke(builder))).get(LIMIT.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException failure) {
            throw shown(failure);
        }
        Object body = response.getClass().getMethod("getBody").invoke(response);
        coverage.answered(action, body);
        return Models.leaves(body);
    }

    /** The code, status and request id of whichever class the SDK has wrapped them in. */
    private static Exception shown(Exception failure) {
        for (Throwable at = failure; at != null; at = at.getCause()) {
            if (at instanceof PopClientException refusal) {
                return new Refused(refusal.getErrCode(), refusal.getStatusCode(), refusal.getErrMessage(),
                        refusal.getRequestId(), failure);
            }
            if (at instanceof PopServerException refusal) {
                return new Refused(refusal.getErrCode(), refusal.getStatusCode(), refusal.getErrMessage(),
                        refusal.getRequestId(), failure);
            }
        }
        return failure;
    }
}
