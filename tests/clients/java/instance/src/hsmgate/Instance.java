package hsmgate;

import static hsmgate.Bytes.base64;
import static hsmgate.Bytes.utf8;
import static hsmgate.Steps.differ;
import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import com.aliyun.dkms.gcs.openapi.models.Config;
import com.aliyun.dkms.gcs.openapi.util.models.RuntimeOptions;
import com.aliyun.dkms.gcs.sdk.Client;
import com.aliyun.dkms.gcs.sdk.models.DecryptRequest;
import com.aliyun.dkms.gcs.sdk.models.DecryptResponse;
import com.aliyun.dkms.gcs.sdk.models.EncryptRequest;
import com.aliyun.dkms.gcs.sdk.models.EncryptResponse;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyRequest;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyResponse;
import com.aliyun.dkms.gcs.sdk.models.GenerateRandomRequest;
import com.aliyun.dkms.gcs.sdk.models.GetPublicKeyRequest;
import com.aliyun.dkms.gcs.sdk.models.GetSecretValueRequest;
import com.aliyun.dkms.gcs.sdk.models.SignRequest;
import com.aliyun.dkms.gcs.sdk.models.SignResponse;
import com.aliyun.dkms.gcs.sdk.models.VerifyRequest;
import com.aliyun.tea.TeaException;
import java.util.LinkedHashMap;
import java.util.Map;

/** The operations that the instance SDK has had from its first versions on. */
final class Instance {
    static final byte[] MESSAGE = utf8("attack at dawn \u0000 Grüße, 杭州");
    static final byte[] AAD = {'f', 'o', 'r', 0, (byte) 0xff};

    private final Steps steps;
    private final String prefix;
    private final Client client;
    private final PublicApi kms;
    private final Gateway gateway;

    Instance(Steps steps, String prefix, Client client, PublicApi kms, Gateway gateway) {
        this.steps = steps;
        this.prefix = prefix;
        this.client = client;
        this.kms = kms;
        this.gateway = gateway;
    }

    /** A configuration without a client key. */
    static Config config(Gateway gateway) throws Exception {
        Config config = new Config()
                .setEndpoint(gateway.address())
                .setProtocol(gateway.protocol())
                .setConnectTimeout(10_000)
                .setReadTimeout(60_000);
        // Over plain http it reads the CA too, and fails without one.
        config.setCaFilePath(Gateway.named("HSMGATE_TLS_DEV_JSON").get("ca_file"));
        return config;
    }

    static Client client(Gateway gateway, PublicApi.ClientKey clientKey) throws Exception {
        return new Client(config(gateway).setClientKeyContent(clientKey.content()).setPassword(PublicApi.PASSWORD));
    }

    /** What the SDK throws for a refusal, looked for among the causes. */
    static void refused(String code, int status, Steps.Body call) throws Throwable {
        try {
            call.run();
        } catch (Exception failure) {
            for (Throwable at = failure; at != null; at = at.getCause()) {
                if (at instanceof TeaException refusal && refusal.getCode() != null) {
                    Object shown = refusal.getData() == null ? null : refusal.getData().get("httpCode");
                    boolean hasStatus = shown == null || String.valueOf(shown).equals(String.valueOf(status));
                    if (code.equals(refusal.getCode()) && hasStatus) {
                        return;
                    }
                    throw new AssertionError("expected " + status + " " + code + ", not " + refusal.getCode() + " "
                            + refusal.getMessage() + " " + refusal.getData(), failure);
                }
            }
            throw failure;
        }
        throw new AssertionError("it was not refused with " + code);
    }

    private void step(String name, Steps.Body body) {
        steps.step(prefix + name, body);
    }

    private DecryptRequest opening(EncryptResponse sealed, byte[] aad) {
        DecryptRequest request = new DecryptRequest();
        request.setKeyId(sealed.getKeyId());
        request.setCiphertextBlob(sealed.getCiphertextBlob());
        request.setIv(sealed.getIv());
        request.setAlgorithm(sealed.getAlgorithm());
        request.setAad(aad);
        return request;
    }

    private EncryptRequest sealing(String key, byte[] plaintext, byte[] aad) {
        EncryptRequest request = new EncryptRequest();
        request.setKeyId(key);
        request.setPlaintext(plaintext);
        request.setAad(aad);
        return request;
    }

    void all() {
        sealing();
        pairs();
        refusals();
    }

    private void sealing() {
        step("decrypts-what-it-has-encrypted", () -> {
            String key = kms.newKey();
            for (byte[] plaintext : new byte[][] {{0}, MESSAGE, JavaCrypto.random(6144)}) {
                EncryptResponse sealed = client.encrypt(sealing(key, plaintext, AAD));
                equal(key, sealed.getKeyId());
                equal("AES_GCM", sealed.getAlgorithm());
                equal(12, sealed.getIv().length);
                equal(plaintext.length + 16, sealed.getCiphertextBlob().length);
                DecryptResponse opened = client.decrypt(opening(sealed, AAD));
                equal(plaintext, opened.getPlaintext());
                equal(key, opened.getKeyId());
                refused("InvalidParameter", 400, () -> client.decrypt(opening(sealed, utf8("another"))));
                refused("InvalidParameter", 400, () -> client.decrypt(opening(sealed, null)));
            }
        });
        step("refuses-an-altered-ciphertext", () -> {
            EncryptResponse sealed = client.encrypt(sealing(kms.newKey(), MESSAGE, null));
            byte[] blob = sealed.getCiphertextBlob();
            for (int at : new int[] {0, blob.length - 17, blob.length - 1}) {
                DecryptRequest request = opening(sealed, null);
                request.setCiphertextBlob(Bytes.altered(blob, at));
                refused("InvalidParameter", 400, () -> client.decrypt(request));
            }
            DecryptRequest otherIv = opening(sealed, null);
            otherIv.setIv(Bytes.altered(sealed.getIv(), 0));
            refused("InvalidParameter", 400, () -> client.decrypt(otherIv));
        });
        step("takes-a-key-by-its-alias-and-no-iv-of-the-caller", () -> {
            EncryptResponse sealed = client.encrypt(sealing(gateway.get("alias"), MESSAGE, null));
            equal(gateway.get("key_id"), sealed.getKeyId());
            EncryptRequest chosen = sealing(gateway.get("alias"), MESSAGE, null);
            chosen.setIv(JavaCrypto.random(12));
            refused("InvalidParameter", 400, () -> client.encrypt(chosen));
        });
        step("generates-data-keys", () -> {
            String key = kms.newKey();
            for (int size : new int[] {1, 32, 1024}) {
                GenerateDataKeyRequest request = new GenerateDataKeyRequest();
                request.setKeyId(key);
                request.setNumberOfBytes(size);
                request.setAad(AAD);
                GenerateDataKeyResponse made = client.generateDataKey(request);
                equal(size, made.getPlaintext().length);
                DecryptRequest opening = new DecryptRequest();
                opening.setKeyId(made.getKeyId());
                opening.setCiphertextBlob(made.getCiphertextBlob());
                opening.setIv(made.getIv());
                opening.setAlgorithm(made.getAlgorithm());
                opening.setAad(AAD);
                equal(made.getPlaintext(), client.decrypt(opening).getPlaintext());
            }
        });
        step("draws-random-bytes", () -> {
            GenerateRandomRequest request = new GenerateRandomRequest();
            request.setLength(64);
            byte[] one = client.generateRandom(request).getRandom();
            equal(64, one.length);
            differ(one, client.generateRandom(request).getRandom());
            request.setLength(65);
            refused("InvalidParameter", 400, () -> client.generateRandom(request));
        });
    }

    private String publicKey(String key) throws Exception {
        GetPublicKeyRequest request = new GetPublicKeyRequest();
        request.setKeyId(key);
        return client.getPublicKey(request).getPublicKey();
    }

    private boolean verifies(SignResponse signed, byte[] message, String type) throws Exception {
        VerifyRequest request = new VerifyRequest();
        request.setKeyId(signed.getKeyId());
        request.setAlgorithm(signed.getAlgorithm());
        request.setMessage(message);
        request.setMessageType(type);
        request.setSignature(signed.getSignature());
        return client.verify(request).getValue();
    }

    private void pairs() {
        Map<String, String> algorithms = new LinkedHashMap<>();
        algorithms.put("RSA_PSS_SHA_256", "RSA_2048");
        algorithms.put("RSA_PKCS1_SHA_256", "RSA_2048");
        algorithms.put("ECDSA_SHA_256", "EC_P256");
        Map<String, String> keys = new LinkedHashMap<>();
        algorithms.forEach((algorithm, spec) -> {
            String name = algorithm.toLowerCase(java.util.Locale.ROOT).replace('_', '-');
            step("signs-by-" + name + "-what-java-verifies", () -> {
                if (!keys.containsKey(spec)) {
                    keys.put(spec, kms.newKey(spec, "SIGN/VERIFY"));
                }
                String key = keys.get(spec);
                String pem = publicKey(key);
                byte[] digest = JavaCrypto.sha256(MESSAGE);
                for (String type : new String[] {"RAW", "DIGEST"}) {
                    SignRequest request = new SignRequest();
                    request.setKeyId(key);
                    request.setAlgorithm(algorithm);
                    request.setMessage(type.equals("RAW") ? MESSAGE : digest);
                    request.setMessageType(type);
                    SignResponse signed = client.sign(request);
                    equal(key, signed.getKeyId());
                    equal(algorithm, signed.getAlgorithm());
                    holds(JavaCrypto.verifies(algorithm, pem, MESSAGE, signed.getSignature()), "it is not good");
                    holds(verifies(signed, MESSAGE, "RAW"), "the gateway does not verify the message");
                    holds(verifies(signed, digest, "DIGEST"), "the gateway does not verify the digest");
                    holds(!verifies(signed, utf8("another message"), "RAW"), "it is good for another message");
                }
            });
        });
        step("signs-by-the-default-algorithm-of-the-key", () -> {
            for (String spec : new String[] {"RSA_2048", "EC_P256"}) {
                String key = kms.newKey(spec, "SIGN/VERIFY");
                SignRequest request = new SignRequest();
                request.setKeyId(key);
                request.setMessage(MESSAGE);
                request.setMessageType("RAW");
                SignResponse signed = client.sign(request);
                String algorithm = spec.equals("RSA_2048") ? "RSA_PSS_SHA_256" : "ECDSA_SHA_256";
                equal(algorithm, signed.getAlgorithm());
                holds(JavaCrypto.verifies(algorithm, publicKey(key), MESSAGE, signed.getSignature()), "it is not good");
            }
        });
        step("decrypts-what-java-has-encrypted-to-an-rsa-key", () -> {
            String key = kms.newKey("RSA_2048", "ENCRYPT/DECRYPT");
            String pem = publicKey(key);
            for (String algorithm : new String[] {"RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"}) {
                DecryptRequest request = new DecryptRequest();
                request.setKeyId(key);
                request.setAlgorithm(algorithm);
                request.setCiphertextBlob(JavaCrypto.encrypt(algorithm, JavaCrypto.publicKey(pem, "RSA"), MESSAGE));
                equal(MESSAGE, client.decrypt(request).getPlaintext());
                EncryptRequest here = sealing(key, MESSAGE, null);
                here.setAlgorithm(algorithm);
                request.setCiphertextBlob(client.encrypt(here).getCiphertextBlob());
                equal(MESSAGE, client.decrypt(request).getPlaintext());
            }
        });
    }

    private void refusals() {
        step("tells-a-key-that-is-not-there", () ->
                refused("Forbidden.KeyNotFound", 404, () ->
                        client.encrypt(sealing("00000000-0000-4000-8000-000000000001", MESSAGE, null))));
        step("keeps-a-client-key-to-its-policy", () -> {
            String mine = kms.newKey();
            String other = kms.newKey();
            Client limited = client(gateway, kms.newClientKey("[\"key/" + mine + "\"]"));
            equal(mine, limited.encrypt(sealing(mine, MESSAGE, null)).getKeyId());
            refused("Forbidden.NoPermission", 403, () -> limited.encrypt(sealing(other, MESSAGE, null)));
        });
        step("knows-no-deleted-client-key", () -> {
            PublicApi.ClientKey clientKey = kms.newClientKey("[\"key/*\"]");
            Client deleted = client(gateway, clientKey);
            equal(gateway.get("key_id"), deleted.encrypt(sealing(gateway.get("alias"), MESSAGE, null)).getKeyId());
            kms.delete(clientKey);
            refused("Unauthorized", 404, () -> deleted.encrypt(sealing(gateway.get("alias"), MESSAGE, null)));
        });
        step("reads-no-secret-without-the-permission", () -> {
            GetSecretValueRequest request = new GetSecretValueRequest();
            request.setSecretName("none");
            refused("Forbidden.NoPermission", 403, () -> client.getSecretValueWithOptions(request, new RuntimeOptions()));
        });
    }
}
