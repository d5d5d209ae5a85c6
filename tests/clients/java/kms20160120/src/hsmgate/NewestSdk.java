package hsmgate;

import com.aliyun.kms20160120.Client;
import com.aliyun.tea.TeaException;
import com.aliyun.tea.TeaModel;
import com.aliyun.teaopenapi.models.Config;
import com.aliyun.teaopenapi.models.OpenApiRequest;
import com.aliyun.teaopenapi.models.Params;
import com.aliyun.teautil.models.RuntimeOptions;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** `com.aliyun:kms20160120`, by its typed methods. */
final class NewestSdk extends Kms {
    private final Recording client;
    private final Coverage coverage;

    /** The client, unchanged but for keeping what was sent before it is made into the typed answer. */
    private static final class Recording extends Client {
        private final ThreadLocal<Object> body = new ThreadLocal<>();

        Recording(Config config) throws Exception {
            super(config);
        }

        @Override
        public Map<String, ?> callApi(Params params, OpenApiRequest request, RuntimeOptions runtime) throws Exception {
            Map<String, ?> answer = super.callApi(params, request, runtime);
            body.set(answer.get("body"));
            return answer;
        }
    }

    NewestSdk(Config config, Coverage coverage) throws Exception {
        this.client = new Recording(config);
        this.coverage = coverage;
    }

    static Config config(Gateway gateway) throws Exception {
        Config config = new Config()
                .setAccessKeyId(gateway.get("access_key_id"))
                .setAccessKeySecret(gateway.get("access_key_secret"))
                .setSecurityToken(gateway.get("security_token"))
                .setRegionId(gateway.region())
                .setEndpoint(gateway.address())
                .setProtocol(gateway.protocol())
                .setConnectTimeout(10_000)
                .setReadTimeout(60_000);
        return gateway.protocol().equals("https") ? config.setCa(gateway.ca()) : config;
    }

    /** The operations that it has methods for. */
    static Set<String> operations() {
        Set<String> operations = new TreeSet<>();
        for (Method method : Client.class.getMethods()) {
            if (method.getName().endsWith("WithOptions")) {
                String name = method.getName().replace("WithOptions", "");
                operations.add(name.substring(0, 1).toUpperCase(java.util.Locale.ROOT) + name.substring(1));
            }
        }
        return operations;
    }

    @Override
    protected Leaves send(String action, Map<String, Object> parameters) throws Exception {
        try {
            return sent(action, parameters);
        } catch (InvocationTargetException refusal) {
            throw shown(refusal.getCause());
        } catch (TeaException refusal) {
            throw shown(refusal);
        }
    }

    private Leaves sent(String action, Map<String, Object> parameters) throws Exception {
        RuntimeOptions options = new RuntimeOptions();
        String method = action.substring(0, 1).toLowerCase(java.util.Locale.ROOT) + action.substring(1) + "WithOptions";
        TeaModel response;
        if (!operations().contains(action)) {
            return untyped(action, parameters, options);
        }
        try {
            Class<?> type = Class.forName("com.aliyun.kms20160120.models." + action + "Request");
            Object request = type.getConstructor().newInstance();
            Models.set(request, parameters, false);
            response = (TeaModel) Client.class.getMethod(method, type, RuntimeOptions.class)
                    .invoke(client, request, options);
        } catch (ClassNotFoundException withoutParameters) {
            response = (TeaModel) Client.class.getMethod(method, RuntimeOptions.class).invoke(client, options);
        }
        Object body = response.getClass().getMethod("getBody").invoke(response);
        coverage.answered(action, body, Leaves.ofTree(client.body.get()));
        return Models.leaves(body);
    }

    /** What its users write where it has no method yet. */
    private Leaves untyped(String action, Map<String, Object> parameters, RuntimeOptions options) throws Exception {
        Map<String, String> query = new LinkedHashMap<>();
        parameters.forEach((name, value) -> query.put(name, String.valueOf(value)));
        Params params = new Params()
                .setAction(action)
                .setVersion("2016-01-20")
                .setProtocol("HTTPS")
                .setPathname("/")
                .setMethod("POST")
                .setAuthType("AK")
                .setStyle("RPC")
                .setReqBodyType("formData")
                .setBodyType("json");
        client.callApi(params, new OpenApiRequest().setQuery(query), options);
        return Leaves.ofTree(client.body.get());
    }

    private static Exception shown(Throwable failure) {
        if (failure instanceof TeaException refusal && refusal.getData() != null && refusal.getCode() != null) {
            Integer status = refusal.getStatusCode();
            if (status == null && refusal.getData().get("statusCode") instanceof Number number) {
                status = number.intValue();
            }
            return new Refused(refusal.getCode(), status == null ? 0 : status, refusal.getMessage(),
                    String.valueOf(refusal.getData().get("RequestId")), refusal);
        }
        return failure instanceof Exception exception ? exception : new IllegalStateException(failure);
    }
}
