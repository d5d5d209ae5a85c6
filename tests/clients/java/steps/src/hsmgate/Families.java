package hsmgate;

import static hsmgate.Bytes.base64;
import static hsmgate.Bytes.bytes;
import static hsmgate.Bytes.utf8;
import static hsmgate.Steps.differ;
import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import java.security.KeyPair;
import java.security.KeyStore;
import java.security.interfaces.RSAKey;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Every family of operation of the public API, through one SDK. */
public final class Families {
    private static final byte[] MESSAGE = utf8("attack at dawn \u0000 Grüße, 杭州");
    private static final String PLAINTEXT = base64(MESSAGE);
    private static final String UNKNOWN_KEY = "00000000-0000-4000-8000-000000000001";
    private static final String AWKWARD = "Zahlungen & Grüße = 支付 + ~*'()!/:%20";
    private static final String USER = "RbacPermission/Template/CryptoServiceKeyUser";

    private final Steps steps;
    private final String prefix;
    private final Kms kms;
    private final Gateway gateway;

    public Families(Steps steps, String prefix, Kms kms, Gateway gateway) {
        this.steps = steps;
        this.prefix = prefix;
        this.kms = kms;
        this.gateway = gateway;
    }

    private void step(String name, Steps.Body body) {
        steps.step(prefix + name, body);
    }

    private String newKey(Object... parameters) throws Exception {
        return kms.call("CreateKey", parameters).text("KeyId");
    }

    private static String unused(String kind) {
        return kind + "-" + UUID.randomUUID();
    }

    private static Map<String, String> context(String... namesAndValues) {
        Map<String, String> context = new LinkedHashMap<>();
        for (int at = 0; at < namesAndValues.length; at += 2) {
            context.put(namesAndValues[at], namesAndValues[at + 1]);
        }
        return context;
    }

    private void decrypts(String blob, Map<String, String> context, String plaintext, String key) throws Exception {
        Leaves opened = kms.call("Decrypt", "CiphertextBlob", blob, "EncryptionContext", context);
        equal(plaintext, opened.text("Plaintext"));
        equal(key, opened.text("KeyId"));
    }

    /** What shows that a scheme, a transport or a credential works: a key, a ciphertext, a signature, a
     * list, an awkward text, and an error. */
    public void essentials() {
        step("encrypts-and-decrypts-with-awkward-signs", () -> {
            String key = newKey("Description", AWKWARD);
            equal(AWKWARD, kms.call("DescribeKey", "KeyId", key).text("Description"));
            Map<String, String> context = context("város", "Győr & más=+%", "empty", "", "город", "杭州");
            Leaves sealed = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT, "EncryptionContext", context);
            decrypts(sealed.text("CiphertextBlob"), context, PLAINTEXT, key);
        });
        step("signs-what-java-verifies", () -> {
            String key = newKey("KeySpec", "EC_P256", "KeyUsage", "SIGN/VERIFY");
            signs(key, "EC_P256", "ECDSA_SHA_256");
        });
        step("lists-keys-by-page", () -> {
            Leaves page = kms.call("ListKeys", "PageNumber", 1, "PageSize", 1);
            equal(1, page.all("KeyArn").size());
            holds(page.number("TotalCount") >= 2, "fewer keys than made");
        });
        step("shows-a-refusal-with-code-status-and-request-id", () -> {
            kms.refused("Forbidden.KeyNotFound", 404, "DescribeKey", "KeyId", UNKNOWN_KEY);
            kms.refused("Forbidden.AliasNotFound", 404, "DescribeKey", "KeyId", "alias/none");
        });
        new Secrets(steps, prefix, kms, gateway).everyValue();
    }

    /** Every family. `large` makes RSA keys of every size, which takes the token seconds. */
    public void all(boolean large) {
        kinds(large);
        sealing();
        dataKeys();
        pairs();
        material();
        versions();
        lifecycle();
        names();
        arns();
        tags();
        lists();
        access();
        account();
        dryRun();
        errors();
        new Secrets(steps, prefix, kms, gateway).all();
    }

    private void kinds(boolean large) {
        Map<String, String> kinds = new LinkedHashMap<>();
        kinds.put("Aliyun_AES_256", "ENCRYPT/DECRYPT");
        kinds.put("Aliyun_AES_192", "ENCRYPT/DECRYPT");
        kinds.put("Aliyun_AES_128", "ENCRYPT/DECRYPT");
        kinds.put("RSA_2048", "ENCRYPT/DECRYPT");
        kinds.put("EC_P256", "SIGN/VERIFY");
        kinds.put("EC_P256K", "SIGN/VERIFY");
        kinds.put("HMAC_SHA_256", "GENERATE/VERIFY_MAC");
        kinds.put("HMAC_SHA_512", "GENERATE/VERIFY_MAC");
        if (large) {
            kinds.put("RSA_3072", "SIGN/VERIFY");
            kinds.put("RSA_4096", "SIGN/VERIFY");
        }
        kinds.forEach((spec, usage) -> {
            String name = spec.toLowerCase(java.util.Locale.ROOT).replace('_', '-');
            step("makes-a-key-of-" + name, () -> {
                Leaves made = kms.call("CreateKey", "KeySpec", spec, "KeyUsage", usage, "Description", spec);
                Leaves described = kms.call("DescribeKey", "KeyId", made.text("KeyId"));
                for (Leaves key : List.of(made, described)) {
                    equal(spec, key.text("KeySpec"));
                    equal(usage, key.text("KeyUsage"));
                    equal("Enabled", key.text("KeyState"));
                    equal("Aliyun_KMS", key.text("Origin"));
                    equal(gateway.arn("key/" + made.text("KeyId")), key.text("Arn"));
                    holds(key.text("CreationDate").matches("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ"), "no date");
                }
                if (spec.startsWith("RSA_") && usage.equals("SIGN/VERIFY")) {
                    signs(made.text("KeyId"), spec, "RSA_PSS_SHA_256");
                }
            });
        });
        step("refuses-a-key-kind-that-the-token-lacks", () ->
                kms.refused("UnsupportedOperation", 400, "CreateKey", "KeySpec", "EC_SM2", "KeyUsage", "SIGN/VERIFY"));
        step("refuses-a-key-kind-that-is-none", () ->
                kms.refused("InvalidParameter", 400, "CreateKey", "KeySpec", "Aliyun_AES_257"));
    }

    private void sealing() {
        step("decrypts-what-it-has-encrypted", () -> {
            String key = newKey();
            for (byte[] text : List.of(new byte[] {0}, MESSAGE, JavaCrypto.random(6144))) {
                Leaves sealed = kms.call("Encrypt", "KeyId", key, "Plaintext", base64(text));
                equal(key, sealed.text("KeyId"));
                decrypts(sealed.text("CiphertextBlob"), null, base64(text), key);
            }
            kms.refused("InvalidParameter", 400, "Encrypt", "KeyId", key, "Plaintext", base64(new byte[6145]));
        });
        step("takes-a-context-in-any-order-and-script", () -> {
            String key = newKey();
            String value = "杭州 & \"quotes\" <x> \\ =";
            Map<String, String> context = context("b", "2", "a", "1", "город", value, "ü", "");
            Map<String, String> other = context("ü", "", "город", value, "a", "1", "b", "2");
            Leaves sealed = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT, "EncryptionContext", context);
            decrypts(sealed.text("CiphertextBlob"), other, PLAINTEXT, key);
        });
        step("refuses-another-context-or-none", () -> {
            String key = newKey();
            Map<String, String> context = context("tenant", "blue", "x", "1");
            String blob = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT, "EncryptionContext", context)
                    .text("CiphertextBlob");
            List<Map<String, String>> wrong = new ArrayList<>();
            wrong.add(null);
            wrong.add(context("tenant", "blue"));
            wrong.add(context("tenant", "Blue", "x", "1"));
            wrong.add(context("x", "blue", "tenant", "1"));
            for (Map<String, String> another : wrong) {
                kms.refused("InvalidParameter", 400, "Decrypt", "CiphertextBlob", blob, "EncryptionContext", another);
            }
            decrypts(blob, context, PLAINTEXT, key);
        });
        step("refuses-an-altered-ciphertext", () -> {
            byte[] blob = kms.call("Encrypt", "KeyId", newKey(), "Plaintext", PLAINTEXT).bytes("CiphertextBlob");
            for (int at : new int[] {36, 47, 48, blob.length - 17, blob.length - 1}) {
                kms.refused("InvalidParameter", 400, "Decrypt", "CiphertextBlob", base64(Bytes.altered(blob, at)));
            }
        });
        step("reencrypts-to-another-key-and-context", () -> {
            String from = newKey();
            String to = newKey();
            Map<String, String> before = context("at", "before");
            Map<String, String> after = context("at", "after");
            Leaves sealed = kms.call("Encrypt", "KeyId", from, "Plaintext", PLAINTEXT, "EncryptionContext", before);
            Leaves moved = kms.call("ReEncrypt", "CiphertextBlob", sealed.text("CiphertextBlob"),
                    "SourceEncryptionContext", before, "DestinationKeyId", to,
                    "DestinationEncryptionContext", after);
            // The API tells the key that it was under.
            equal(from, moved.text("KeyId"));
            decrypts(moved.text("CiphertextBlob"), after, PLAINTEXT, to);
            kms.refused("InvalidParameter", 400, "ReEncrypt", "CiphertextBlob", sealed.text("CiphertextBlob"),
                    "SourceEncryptionContext", after, "DestinationKeyId", to);
        });
        step("serves-32-calls-at-once", () -> {
            String key = newKey();
            ExecutorService threads = Executors.newFixedThreadPool(32);
            List<Future<?>> calls = new ArrayList<>();
            for (int number = 0; number < 32; number++) {
                String text = base64("text " + number);
                calls.add(threads.submit(() -> {
                    Leaves sealed = kms.call("Encrypt", "KeyId", key, "Plaintext", text);
                    decrypts(sealed.text("CiphertextBlob"), null, text, key);
                    return null;
                }));
            }
            for (Future<?> call : calls) {
                call.get();
            }
            threads.shutdown();
            equal(32, calls.size());
        });
    }

    private void dataKeys() {
        step("generates-data-keys-of-every-size", () -> {
            String key = newKey();
            Map<String, String> context = context("for", "the shop");
            Map<Object[], Integer> asked = new LinkedHashMap<>();
            asked.put(new Object[] {}, 32);
            asked.put(new Object[] {"KeySpec", "AES_128"}, 16);
            asked.put(new Object[] {"KeySpec", "AES_256"}, 32);
            asked.put(new Object[] {"NumberOfBytes", 64}, 64);
            asked.put(new Object[] {"NumberOfBytes", 1024}, 1024);
            for (Map.Entry<Object[], Integer> size : asked.entrySet()) {
                List<Object> parameters = new ArrayList<>(List.of("KeyId", key, "EncryptionContext", context));
                parameters.addAll(List.of(size.getKey()));
                Leaves made = kms.call("GenerateDataKey", parameters.toArray());
                equal(size.getValue(), made.bytes("Plaintext").length);
                decrypts(made.text("CiphertextBlob"), context, made.text("Plaintext"), key);
                Leaves sealed = kms.call("GenerateDataKeyWithoutPlaintext", parameters.toArray());
                equal(null, sealed.text("Plaintext"));
                Leaves opened = kms.call(
                        "Decrypt", "CiphertextBlob", sealed.text("CiphertextBlob"), "EncryptionContext", context);
                equal(size.getValue(), opened.bytes("Plaintext").length);
            }
            if (!kms.checksParameters()) {
                kms.refused("InvalidParameter", 400, "GenerateDataKey", "KeyId", key, "NumberOfBytes", 1025);
            }
        });
        step("exports-data-keys-that-java-unwraps", () -> {
            String key = newKey();
            KeyPair recipient = JavaCrypto.rsaPair(2048);
            String blob = base64(recipient.getPublic().getEncoded());
            for (String algorithm : List.of("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")) {
                Leaves made = kms.call("GenerateAndExportDataKey", "KeyId", key, "PublicKeyBlob", blob,
                        "WrappingKeySpec", "RSA_2048", "WrappingAlgorithm", algorithm, "NumberOfBytes", 24,
                        "EncryptionContext", context("a", "b"));
                byte[] dataKey = JavaCrypto.decrypt(algorithm, recipient.getPrivate(), made.bytes("ExportedDataKey"));
                equal(24, dataKey.length);
                decrypts(made.text("CiphertextBlob"), context("a", "b"), base64(dataKey), key);
                Leaves again = kms.call("ExportDataKey", "CiphertextBlob", made.text("CiphertextBlob"),
                        "PublicKeyBlob", blob, "WrappingKeySpec", "RSA_2048", "WrappingAlgorithm", algorithm,
                        "EncryptionContext", context("a", "b"));
                equal(dataKey, JavaCrypto.decrypt(algorithm, recipient.getPrivate(), again.bytes("ExportedDataKey")));
            }
            Refused refusal = kms.refused("InvalidParameter", 400, "GenerateAndExportDataKey", "KeyId", key,
                    "PublicKeyBlob", base64("no key"), "WrappingKeySpec", "RSA_2048",
                    "WrappingAlgorithm", "RSAES_OAEP_SHA_1");
            holds(refusal.getMessage().contains("PublicKeyBlob"), refusal.getMessage());
        });
    }

    /** A signature that Java and the gateway take, and that neither takes for another message. */
    private void signs(String key, String spec, String algorithm) throws Exception {
        String version = kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId");
        String pem = kms.call("GetPublicKey", "KeyId", key, "KeyVersionId", version).text("PublicKey");
        String digest = base64(JavaCrypto.sha256(MESSAGE));
        byte[] signature = kms.call("AsymmetricSign", "KeyId", key, "KeyVersionId", version,
                "Algorithm", algorithm, "Digest", digest).bytes("Value");
        byte[] other = utf8("another message");
        if (spec.equals("EC_P256K")) {
            holds(JavaCrypto.verifiesOnSecp256k1(pem, MESSAGE, signature), "the signature is not good");
            holds(!JavaCrypto.verifiesOnSecp256k1(pem, other, signature), "it is good for another message");
        } else {
            holds(JavaCrypto.verifies(algorithm, pem, MESSAGE, signature), "the signature is not good");
            holds(!JavaCrypto.verifies(algorithm, pem, other, signature), "it is good for another message");
        }
        for (byte[] message : List.of(MESSAGE, other)) {
            Leaves verified = kms.call("AsymmetricVerify", "KeyId", key, "KeyVersionId", version, "Algorithm",
                    algorithm, "Digest", base64(JavaCrypto.sha256(message)), "Value", base64(signature));
            equal(String.valueOf(message == MESSAGE), verified.text("Value"));
        }
    }

    private void pairs() {
        step("signs-with-rsa-what-java-verifies", () -> {
            String key = newKey("KeySpec", "RSA_2048", "KeyUsage", "SIGN/VERIFY");
            for (String algorithm : List.of("RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256")) {
                signs(key, "RSA_2048", algorithm);
            }
            kms.refused("Rejected.UnsupportedOperation", 400, "AsymmetricEncrypt", "KeyId", key, "KeyVersionId",
                    kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId"),
                    "Algorithm", "RSAES_OAEP_SHA_256", "Plaintext", PLAINTEXT);
        });
        for (String spec : List.of("EC_P256", "EC_P256K")) {
            step("signs-with-" + spec.toLowerCase(java.util.Locale.ROOT).replace('_', '-') + "-what-java-verifies",
                    () -> signs(newKey("KeySpec", spec, "KeyUsage", "SIGN/VERIFY"), spec, "ECDSA_SHA_256"));
        }
        step("decrypts-what-java-has-encrypted-to-an-rsa-key", () -> {
            String key = newKey("KeySpec", "RSA_2048", "KeyUsage", "ENCRYPT/DECRYPT");
            String version = kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId");
            String pem = kms.call("GetPublicKey", "KeyId", key, "KeyVersionId", version).text("PublicKey");
            for (String algorithm : List.of("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")) {
                byte[] elsewhere = JavaCrypto.encrypt(algorithm, JavaCrypto.publicKey(pem, "RSA"), MESSAGE);
                Leaves here = kms.call("AsymmetricEncrypt", "KeyId", key, "KeyVersionId", version,
                        "Algorithm", algorithm, "Plaintext", PLAINTEXT);
                for (String ciphertext : List.of(base64(elsewhere), here.text("CiphertextBlob"))) {
                    Leaves opened = kms.call("AsymmetricDecrypt", "KeyId", key, "KeyVersionId", version,
                            "Algorithm", algorithm, "CiphertextBlob", ciphertext);
                    equal(PLAINTEXT, opened.text("Plaintext"));
                }
                kms.refused("InvalidParameter", 400, "AsymmetricDecrypt", "KeyId", key, "KeyVersionId", version,
                        "Algorithm", algorithm, "CiphertextBlob", base64(Bytes.altered(elsewhere, 9)));
            }
            String to = newKey();
            byte[] dataKey =
                    JavaCrypto.encrypt("RSAES_OAEP_SHA_256", JavaCrypto.publicKey(pem, "RSA"), utf8("a data key"));
            Leaves moved = kms.call("ReEncrypt", "CiphertextBlob", base64(dataKey),
                    "SourceKeyId", key, "SourceKeyVersionId", version,
                    "SourceEncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DestinationKeyId", to);
            decrypts(moved.text("CiphertextBlob"), null, base64("a data key"), to);
        });
        if (kms.knows("GenerateMac")) {
            step("makes-macs-that-no-other-message-has", this::macs);
        }
    }

    private void macs() throws Exception {
        for (String spec : List.of("HMAC_SHA_256", "HMAC_SHA_512")) {
            String key = newKey("KeySpec", spec, "KeyUsage", "GENERATE/VERIFY_MAC");
            Leaves made = kms.call("GenerateMac", "KeyId", key, "Algorithm", spec, "Message", PLAINTEXT);
            equal(spec.endsWith("256") ? 32 : 64, made.bytes("Mac").length);
            for (String message : List.of(PLAINTEXT, base64("another message"))) {
                Leaves verified = kms.call("VerifyMac", "KeyId", key, "Algorithm", spec, "Message", message,
                        "Mac", made.text("Mac"));
                equal(String.valueOf(message.equals(PLAINTEXT)), verified.text("Value"));
            }
        }
    }

    private Leaves importParameters(String key, String wrapping) throws Exception {
        return kms.call("GetParametersForImport", "KeyId", key, "WrappingAlgorithm", wrapping,
                "WrappingKeySpec", "RSA_2048");
    }

    private String wrapped(Leaves parameters, String wrapping, byte[] material) throws Exception {
        String pem = parameters.text("PublicKey");
        return base64(JavaCrypto.encrypt(wrapping, JavaCrypto.publicKey(pem, "RSA"), material));
    }

    private void imports(String key, String wrapping, byte[] material, long expires) throws Exception {
        Leaves parameters = importParameters(key, wrapping);
        kms.call("ImportKeyMaterial", "KeyId", key, "EncryptedKeyMaterial", wrapped(parameters, wrapping, material),
                "ImportToken", parameters.text("ImportToken"), "KeyMaterialExpireUnix", expires);
    }

    private String state(String key) throws Exception {
        return kms.call("DescribeKey", "KeyId", key).text("KeyState");
    }

    private void material() {
        for (String wrapping : List.of("RSAES_OAEP_SHA_1", "RSAES_PKCS1_V1_5")) {
            String name = wrapping.toLowerCase(java.util.Locale.ROOT).replace('_', '-');
            step("imports-material-that-java-wrapped-by-" + name, () -> {
                String key = newKey("Origin", "EXTERNAL");
                equal("PendingImport", state(key));
                byte[] material = JavaCrypto.random(32);
                imports(key, wrapping, material, 0);
                equal("Enabled", state(key));
                String version = kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId");
                Map<String, String> named = context("tenant", "blue", "город", "杭州");
                for (Map<String, String> context : List.of(context(), named)) {
                    Leaves sealed = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT,
                            "EncryptionContext", context.isEmpty() ? null : context);
                    equal(PLAINTEXT, JavaCrypto.opened(sealed.bytes("CiphertextBlob"), material, context));
                    byte[] elsewhere = JavaCrypto.blob(version, material, context, PLAINTEXT);
                    decrypts(base64(elsewhere), context.isEmpty() ? null : context, PLAINTEXT, key);
                }
            });
        }
        step("takes-back-deleted-material-and-no-other", () -> {
            String key = newKey("Origin", "EXTERNAL");
            byte[] material = JavaCrypto.random(32);
            long expires = Instant.now().getEpochSecond() + 3600;
            imports(key, "RSAES_OAEP_SHA_1", material, expires);
            equal(Instant.ofEpochSecond(expires).toString(),
                    kms.call("DescribeKey", "KeyId", key).text("MaterialExpireTime"));
            String blob = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT).text("CiphertextBlob");
            kms.call("DeleteKeyMaterial", "KeyId", key);
            equal("PendingImport", state(key));
            kms.refused("Rejected.PendingImport", 409, "Decrypt", "CiphertextBlob", blob);
            Leaves parameters = importParameters(key, "RSAES_OAEP_SHA_1");
            kms.refused("InvalidKeyMaterial", 400, "ImportKeyMaterial", "KeyId", key, "EncryptedKeyMaterial",
                    wrapped(parameters, "RSAES_OAEP_SHA_1", JavaCrypto.random(32)),
                    "ImportToken", parameters.text("ImportToken"), "KeyMaterialExpireUnix", 0L);
            imports(key, "RSAES_PKCS1_V1_5", material, 0);
            decrypts(blob, null, PLAINTEXT, key);
        });
        step("refuses-material-where-it-does-not-belong", () -> {
            kms.refused("Unsupported.Origin", 400, "GetParametersForImport", "KeyId", newKey(),
                    "WrappingAlgorithm", "RSAES_OAEP_SHA_1", "WrappingKeySpec", "RSA_2048");
            String one = newKey("Origin", "EXTERNAL");
            String other = newKey("Origin", "EXTERNAL");
            Leaves parameters = importParameters(one, "RSAES_OAEP_SHA_1");
            kms.refused("InvalidImportToken", 400, "ImportKeyMaterial", "KeyId", other, "EncryptedKeyMaterial",
                    wrapped(parameters, "RSAES_OAEP_SHA_1", JavaCrypto.random(32)),
                    "ImportToken", parameters.text("ImportToken"), "KeyMaterialExpireUnix", 0L);
        });
    }

    private void versions() {
        step("decrypts-old-ciphertexts-after-a-rotation", () -> {
            String key = newKey();
            Leaves before = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT);
            Leaves made = kms.call("CreateKeyVersion", "KeyId", key);
            Leaves after = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT);
            equal(made.text("KeyVersionId"), after.text("KeyVersionId"));
            differ(before.text("KeyVersionId"), after.text("KeyVersionId"));
            equal(made.text("KeyVersionId"), kms.call("DescribeKey", "KeyId", key).text("PrimaryKeyVersion"));
            decrypts(before.text("CiphertextBlob"), null, PLAINTEXT, key);
            decrypts(after.text("CiphertextBlob"), null, PLAINTEXT, key);
            Leaves listed = kms.call("ListKeyVersions", "KeyId", key, "PageNumber", 1, "PageSize", 10);
            equal("2", listed.text("TotalCount"));
            equal(Set.of(before.text("KeyVersionId"), after.text("KeyVersionId")),
                    new HashSet<>(listed.all("KeyVersionId")));
            for (String version : listed.all("KeyVersionId")) {
                Leaves described = kms.call("DescribeKeyVersion", "KeyId", key, "KeyVersionId", version);
                equal(version, described.text("KeyVersionId"));
                equal(key, described.text("KeyId"));
            }
            kms.refused("Forbidden.KeyVersionNotFound", 404, "DescribeKeyVersion", "KeyId", key,
                    "KeyVersionId", UNKNOWN_KEY);
        });
        step("signs-with-each-version-of-a-pair", () -> {
            String key = newKey("KeySpec", "EC_P256", "KeyUsage", "SIGN/VERIFY");
            String first = kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId");
            String second = kms.call("CreateKeyVersion", "KeyId", key).text("KeyVersionId");
            String digest = base64(JavaCrypto.sha256(MESSAGE));
            byte[] signature = kms.call("AsymmetricSign", "KeyId", key, "KeyVersionId", first,
                    "Algorithm", "ECDSA_SHA_256", "Digest", digest).bytes("Value");
            for (String version : List.of(first, second)) {
                String pem = kms.call("GetPublicKey", "KeyId", key, "KeyVersionId", version).text("PublicKey");
                equal(version.equals(first), JavaCrypto.verifies("ECDSA_SHA_256", pem, MESSAGE, signature));
            }
        });
        step("sets-and-takes-back-a-rotation-policy", () -> {
            String key = newKey("EnableAutomaticRotation", true, "RotationInterval", "30d");
            equal("2592000s", kms.call("DescribeKey", "KeyId", key).text("RotationInterval"));
            kms.call("UpdateRotationPolicy", "KeyId", key, "EnableAutomaticRotation", true,
                    "RotationInterval", "365d");
            Leaves described = kms.call("DescribeKey", "KeyId", key);
            equal("Enabled", described.text("AutomaticRotation"));
            equal("31536000s", described.text("RotationInterval"));
            Instant next = Instant.parse(described.text("NextRotationDate"));
            equal(365L, ChronoUnit.DAYS.between(Instant.parse(described.text("LastRotationDate")), next));
            kms.call("UpdateRotationPolicy", "KeyId", key, "EnableAutomaticRotation", false);
            equal("Disabled", kms.call("DescribeKey", "KeyId", key).text("AutomaticRotation"));
            Refused refusal = kms.refused("InvalidParameter", 400, "UpdateRotationPolicy", "KeyId", key,
                    "EnableAutomaticRotation", true, "RotationInterval", "6d");
            holds(refusal.getMessage().contains("RotationInterval"), refusal.getMessage());
        });
    }

    private void lifecycle() {
        step("uses-no-disabled-key", () -> {
            String key = newKey();
            String blob = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT).text("CiphertextBlob");
            kms.call("DisableKey", "KeyId", key);
            equal("Disabled", state(key));
            kms.refused("Rejected.Disabled", 409, "Encrypt", "KeyId", key, "Plaintext", PLAINTEXT);
            kms.refused("Rejected.Disabled", 409, "Decrypt", "CiphertextBlob", blob);
            kms.call("EnableKey", "KeyId", key);
            decrypts(blob, null, PLAINTEXT, key);
        });
        step("uses-no-key-that-waits-for-its-deletion", () -> {
            String key = newKey();
            String blob = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT).text("CiphertextBlob");
            if (!kms.checksParameters()) {
                kms.refused("InvalidParameter", 400, "ScheduleKeyDeletion", "KeyId", key, "PendingWindowInDays", 6);
            }
            kms.call("ScheduleKeyDeletion", "KeyId", key, "PendingWindowInDays", 7);
            Leaves described = kms.call("DescribeKey", "KeyId", key);
            equal("PendingDeletion", described.text("KeyState"));
            long days = ChronoUnit.HOURS.between(Instant.now(), Instant.parse(described.text("DeleteDate")));
            holds(days >= 7 * 24 - 1 && days <= 7 * 24, "it would go in " + days + " hours");
            kms.refused("Rejected.PendingDeletion", 409, "Decrypt", "CiphertextBlob", blob);
            kms.call("CancelKeyDeletion", "KeyId", key);
            decrypts(blob, null, PLAINTEXT, key);
        });
        step("deletes-no-protected-key", () -> {
            String key = newKey();
            kms.call("SetDeletionProtection", "ProtectedResourceArn", gateway.arn("key/" + key),
                    "EnableDeletionProtection", true, "DeletionProtectionDescription", "the orders");
            Leaves described = kms.call("DescribeKey", "KeyId", key);
            equal("Enabled", described.text("DeletionProtection"));
            equal("the orders", described.text("DeletionProtectionDescription"));
            kms.refused("Rejected.UnsupportedOperation", 400, "ScheduleKeyDeletion", "KeyId", key,
                    "PendingWindowInDays", 7);
            kms.call("SetDeletionProtection", "ProtectedResourceArn", gateway.arn("key/" + key),
                    "EnableDeletionProtection", false);
            kms.call("ScheduleKeyDeletion", "KeyId", key, "PendingWindowInDays", 30);
            equal("PendingDeletion", state(key));
        });
        step("changes-a-description", () -> {
            String key = newKey("Description", "before");
            kms.call("UpdateKeyDescription", "KeyId", key, "Description", AWKWARD);
            equal(AWKWARD, kms.call("DescribeKey", "KeyId", key).text("Description"));
        });
        step("keeps-a-key-policy-as-it-was-set", () -> {
            String key = newKey();
            String policy = kms.call("GetKeyPolicy", "KeyId", key, "PolicyName", "default").text("Policy");
            holds(policy.contains("kms default key policy"), policy);
            String own = policy.replace("kms default key policy", "mine") + "\n";
            kms.call("SetKeyPolicy", "KeyId", key, "PolicyName", "default", "Policy", own);
            equal(own, kms.call("GetKeyPolicy", "KeyId", key, "PolicyName", "default").text("Policy"));
            kms.refused("Forbidden.ResourceNotFound", 404, "GetKeyPolicy", "KeyId", key, "PolicyName", "other");
            kms.refused("InvalidParameter", 400, "SetKeyPolicy", "KeyId", key, "PolicyName", "default",
                    "Policy", "{}");
        });
    }

    private void names() {
        step("moves-an-alias-from-key-to-key", () -> {
            String key = newKey();
            String other = newKey();
            String alias = "alias/" + unused("java");
            kms.call("CreateAlias", "KeyId", key, "AliasName", alias);
            for (String name : List.of(key, alias, gateway.arn("key/" + key), gateway.arn(alias))) {
                equal(key, kms.call("DescribeKey", "KeyId", name).text("KeyId"));
            }
            Leaves listed = kms.call("ListAliasesByKeyId", "KeyId", key);
            equal(List.of(alias), listed.all("AliasName"));
            equal(List.of(gateway.arn(alias)), listed.all("AliasArn"));
            kms.refused("AliasAlreadyExists", 400, "CreateAlias", "KeyId", other, "AliasName", alias);
            kms.call("UpdateAlias", "KeyId", other, "AliasName", alias);
            Leaves sealed = kms.call("Encrypt", "KeyId", alias, "Plaintext", PLAINTEXT);
            decrypts(sealed.text("CiphertextBlob"), null, PLAINTEXT, other);
            holds(kms.call("ListAliases", "PageSize", 100).all("AliasName").contains(alias), "it is not listed");
            kms.call("DeleteAlias", "AliasName", alias);
            kms.refused("Forbidden.AliasNotFound", 404, "DescribeKey", "KeyId", alias);
        });
    }

    /** The calls of the encryption SDK, which names every key by its ARN. */
    private void arns() {
        step("takes-a-key-by-its-arn-in-every-call", () -> {
            String key = newKey();
            String arn = gateway.arn("key/" + key);
            Map<String, String> context = context("purpose", "an envelope");
            Leaves made = kms.call("GenerateDataKey", "KeyId", arn, "NumberOfBytes", 32, "EncryptionContext", context);
            equal(key, made.text("KeyId"));
            decrypts(made.text("CiphertextBlob"), context, made.text("Plaintext"), key);
            Leaves sealed = kms.call("Encrypt", "KeyId", arn, "Plaintext", made.text("Plaintext"),
                    "EncryptionContext", context);
            decrypts(sealed.text("CiphertextBlob"), context, made.text("Plaintext"), key);
            String pair = newKey("KeySpec", "EC_P256", "KeyUsage", "SIGN/VERIFY");
            signs(gateway.arn("key/" + pair), "EC_P256", "ECDSA_SHA_256");
        });
    }

    private void tags() {
        step("tags-one-key", () -> {
            String key = newKey("Tags", "[{\"TagKey\":\"made\",\"TagValue\":\"with-it\"}]");
            kms.call("TagResource", "KeyId", key, "Tags", "[{\"TagKey\":\"team\",\"TagValue\":\"orders订单/1\"}]");
            Leaves tags = kms.call("ListResourceTags", "KeyId", key);
            equal(Set.of("made", "team"), new HashSet<>(tags.all("TagKey")));
            equal(Set.of("with-it", "orders订单/1"), new HashSet<>(tags.all("TagValue")));
            kms.call("UntagResource", "KeyId", key, "TagKeys", "[\"made\"]");
            equal(List.of("team"), kms.call("ListResourceTags", "KeyId", key).all("TagKey"));
            kms.refused("InvalidParameter.TagKey", 400, "TagResource", "KeyId", key,
                    "Tags", "[{\"TagKey\":\"acs:a\",\"TagValue\":\"\"}]");
        });
        step("tags-several-keys", () -> {
            List<String> keys = List.of(newKey(), newKey());
            kms.call("TagResources", "RegionId", gateway.region(), "ResourceType", "key", "ResourceId", keys,
                    "Tag", List.of(Map.of("Key", "team", "Value", "orders"), Map.of("Key", "stage", "Value", "test")));
            Leaves listed = kms.call("ListTagResources", "RegionId", gateway.region(), "ResourceType", "key",
                    "ResourceId", keys);
            equal(4, listed.all("TagKey").size());
            equal(new HashSet<>(keys), new HashSet<>(listed.all("ResourceId")));
            equal(Set.of("orders", "test"), new HashSet<>(listed.all("TagValue")));
            Leaves filtered = kms.call("ListTagResources", "RegionId", gateway.region(), "ResourceType", "key",
                    "ResourceId", keys, "Tag", List.of(Map.of("Key", "stage", "Value", "test")));
            holds(filtered.all("ResourceId").size() >= 2, "the filter has found nothing");
            kms.call("UntagResources", "RegionId", gateway.region(), "ResourceType", "key", "ResourceId", keys,
                    "TagKey", List.of("team"));
            equal(List.of("stage"), kms.call("ListResourceTags", "KeyId", keys.get(0)).all("TagKey"));
            kms.call("UntagResources", "RegionId", gateway.region(), "ResourceType", "key", "ResourceId", keys,
                    "All", true);
            equal(List.of(), kms.call("ListResourceTags", "KeyId", keys.get(1)).all("TagKey"));
            kms.refused("InvalidResourceId.NotFound", 404, "TagResources", "RegionId", gateway.region(),
                    "ResourceType", "key", "ResourceId", List.of(UNKNOWN_KEY),
                    "Tag", List.of(Map.of("Key", "a", "Value", "b")));
        });
        step("gives-many-tags-page-by-page", () -> {
            List<String> keys = new ArrayList<>();
            Set<String> wanted = new HashSet<>();
            List<Map<String, String>> tags = new ArrayList<>();
            for (int number = 0; number < 20; number++) {
                tags.add(Map.of("Key", "name-" + number, "Value", "value"));
            }
            for (int number = 0; number < 11; number++) {
                String key = newKey();
                keys.add(key);
                tags.forEach(tag -> wanted.add(key + " " + tag.get("Key")));
            }
            kms.call("TagResources", "RegionId", gateway.region(), "ResourceType", "key", "ResourceId", keys, "Tag", tags);
            List<String> found = new ArrayList<>();
            String token = null;
            int pages = 0;
            do {
                Leaves page = kms.call("ListTagResources", "RegionId", gateway.region(), "ResourceType", "key",
                        "ResourceId", keys, "NextToken", token);
                List<String> names = page.all("TagKey");
                for (int row = 0; row < names.size(); row++) {
                    found.add(page.all("ResourceId").get(row) + " " + names.get(row));
                }
                token = page.text("NextToken");
                pages++;
            } while (token != null && pages < 10);
            equal(2, pages);
            equal(220, found.size());
            equal(wanted, new HashSet<>(found));
        });
    }

    private void lists() {
        step("lists-every-key-once-page-by-page", () -> {
            Set<String> made = new HashSet<>();
            for (int number = 0; number < 3; number++) {
                made.add(newKey());
            }
            List<String> listed = new ArrayList<>();
            long total = Long.MAX_VALUE;
            for (int number = 1; listed.size() < total; number++) {
                Leaves page = kms.call("ListKeys", "PageNumber", number, "PageSize", 7);
                equal(String.valueOf(number), page.text("PageNumber"));
                equal("7", page.text("PageSize"));
                total = page.number("TotalCount");
                holds(!page.all("KeyId").isEmpty(), "an empty page before the end");
                listed.addAll(page.all("KeyId"));
            }
            equal(listed.size(), new HashSet<>(listed).size());
            holds(listed.containsAll(made), "a key is not listed");
            Leaves beyond = kms.call("ListKeys", "PageNumber", 1000, "PageSize", 100);
            equal(List.of(), beyond.all("KeyId"));
            Refused refusal = kms.refused("InvalidParameter", 400, "ListKeys", "PageSize", 101);
            holds(refusal.getMessage().contains("PageSize"), refusal.getMessage());
        });
        step("filters-keys", () -> {
            String key = newKey("KeySpec", "EC_P256K", "KeyUsage", "SIGN/VERIFY");
            kms.call("DisableKey", "KeyId", key);
            Leaves listed = kms.call("ListKeys", "PageSize", 100, "Filters",
                    "[{\"Key\":\"KeySpec\",\"Values\":[\"EC_P256K\"]},"
                            + "{\"Key\":\"KeyState\",\"Values\":[\"Disabled\"]}]");
            holds(listed.all("KeyId").contains(key), "the key is not found");
            for (String found : listed.all("KeyId")) {
                Leaves described = kms.call("DescribeKey", "KeyId", found);
                equal("EC_P256K Disabled", described.text("KeySpec") + " " + described.text("KeyState"));
            }
        });
    }

    private void access() {
        step("makes-and-changes-rule-policy-and-access-point", () -> {
            String name = unused("java");
            String instance = kms.call("ListKmsInstances").text("KmsInstanceId");
            Leaves rule = kms.call("CreateNetworkRule", "Name", name, "Type", "Private",
                    "SourcePrivateIp", "[\"127.0.0.1\"]", "Description", "here");
            equal(gateway.arn("network/" + name), rule.text("Arn"));
            kms.call("UpdateNetworkRule", "Name", name, "SourcePrivateIp", "[\"127.0.0.0/8\"]", "Description", "there");
            rule = kms.call("DescribeNetworkRule", "Name", name);
            equal("[\"127.0.0.0/8\"]", rule.text("SourcePrivateIp"));
            equal("there", rule.text("Description"));
            String rules = "{\"NetworkRules\":[\"" + name + "\"]}";
            kms.call("CreatePolicy", "Name", name, "Permissions", "[\"" + USER + "\"]", "Resources", "[\"key/*\"]",
                    "AccessControlRules", rules, "Description", "all keys", "KmsInstance", instance);
            Leaves policy = kms.call("DescribePolicy", "Name", name);
            equal(instance, policy.text("KmsInstance"));
            equal(gateway.arn("policy/" + name), policy.text("Arn"));
            equal(rules, policy.text("AccessControlRules"));
            String key = newKey();
            kms.call("UpdatePolicy", "Name", name, "Permissions", "[\"" + USER + "\"]",
                    "Resources", "[\"key/" + key + "\"]", "AccessControlRules", rules, "Description", "one key");
            equal("one key", kms.call("DescribePolicy", "Name", name).text("Description"));
            kms.call("CreateApplicationAccessPoint", "Name", name, "Policies", "[\"" + name + "\"]",
                    "AuthenticationMethod", "ClientKey", "Description", "a shop");
            kms.call("UpdateApplicationAccessPoint", "Name", name, "Policies", "[\"" + name + "\"]",
                    "Description", "the shop");
            Leaves point = kms.call("DescribeApplicationAccessPoint", "Name", name);
            equal("[\"" + name + "\"]", point.text("Policies"));
            equal("the shop", point.text("Description"));
            for (String action : List.of("ListNetworkRules", "ListPolicies", "ListApplicationAccessPoints")) {
                holds(kms.call(action, "PageNumber", 1, "PageSize", 100).all("Name").contains(name), action);
            }
            kms.call("DeleteApplicationAccessPoint", "Name", name);
            kms.call("DeletePolicy", "Name", name);
            kms.call("DeleteNetworkRule", "Name", name);
            for (String kind : List.of("NetworkRule", "Policy", "ApplicationAccessPoint")) {
                kms.refused("Forbidden.ResourceNotFound", 404, "Describe" + kind, "Name", name);
            }
        });
        step("makes-a-client-key-that-java-opens", () -> {
            String name = unused("java");
            kms.call("CreatePolicy", "Name", name, "Permissions", "[\"" + USER + "\"]", "Resources", "[\"key/*\"]");
            kms.call("CreateApplicationAccessPoint", "Name", name, "Policies", "[\"" + name + "\"]");
            Instant until = Instant.now().plus(30, ChronoUnit.DAYS).truncatedTo(ChronoUnit.SECONDS);
            Leaves made = kms.call("CreateClientKey", "AapName", name, "Password", "opens-it-1",
                    "NotBefore", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString(),
                    "NotAfter", until.toString());
            String id = made.text("ClientKeyId");
            holds(id.matches("KAAP\\.[0-9a-f-]{36}"), id);
            KeyStore.PrivateKeyEntry opened = JavaCrypto.open(made.bytes("PrivateKeyData"), "opens-it-1");
            equal(2048, ((RSAKey) opened.getPrivateKey()).getModulus().bitLength());
            Leaves kept = kms.call("GetClientKey", "ClientKeyId", id);
            equal(JavaCrypto.certificate(kept.text("PublicKeyData")), opened.getCertificate());
            equal(until.toString(), kept.text("NotAfter"));
            Leaves listed = kms.call("ListClientKeys", "AapName", name);
            equal(List.of(id), listed.all("ClientKeyId"));
            kms.call("DeleteClientKey", "ClientKeyId", id);
            kms.refused("Forbidden.ResourceNotFound", 404, "GetClientKey", "ClientKeyId", id);
        });
    }

    private void account() {
        step("shows-an-account-that-is-open", () -> {
            equal("Enabled", kms.call("DescribeAccountKmsStatus").text("AccountStatus"));
            kms.refused("Forbidden.Opened", 400, "OpenKmsService");
            equal(List.of(gateway.region()), kms.call("DescribeRegions").all("RegionId"));
        });
        step("shows-itself-as-the-one-instance", () -> {
            Leaves listed = kms.call("ListKmsInstances", "PageNumber", 1, "PageSize", 10);
            equal("1", listed.text("TotalCount"));
            String instance = listed.text("KmsInstanceId");
            equal(gateway.arn("keystore/" + instance), listed.text("KmsInstanceArn"));
            Leaves described = kms.call("GetKmsInstance", "KmsInstanceId", instance);
            equal(instance, described.text("InstanceId"));
            equal("Connected", described.text("Status"));
            Leaves made = kms.call("CreateKey", "DKMSInstanceId", instance, "EnableAutomaticRotation", true,
                    "RotationInterval", "30d");
            equal(instance, made.text("DKMSInstanceId"));
            equal(instance, kms.call("DescribeKey", "KeyId", made.text("KeyId")).text("DKMSInstanceId"));
            kms.refused("Forbidden.DKMSInstanceNotFound", 403, "CreateKey",
                    "DKMSInstanceId", "kst-hzz62f1cb66fa42qo1234");
            equal(instance, kms.call("GetDefaultKmsInstance").text("DefaultKmsInstanceId"));
            if (kms.knows("GetKmsInstanceQuotaInfos")) {
                Leaves quotas = kms.call("GetKmsInstanceQuotaInfos", "KmsInstanceId", instance, "ResourceType", "key");
                equal(List.of("key"), quotas.all("ResourceType"));
            }
        });
    }

    private void dryRun() {
        step("does-nothing-in-a-dry-run", () -> {
            String key = newKey();
            String blob = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT).text("CiphertextBlob");
            kms.refused("DryRunOperationError", 400, "Encrypt", "KeyId", key, "Plaintext", PLAINTEXT, "DryRun", "true");
            kms.refused("DryRunOperationError", 400, "Decrypt", "CiphertextBlob", blob, "DryRun", "true");
            kms.refused("DryRunOperationError", 400, "GenerateDataKey", "KeyId", key, "DryRun", "true");
            kms.refused("ValidationError", 400, "Encrypt", "KeyId", "alias/none", "Plaintext", PLAINTEXT,
                    "DryRun", "true");
            Leaves done = kms.call("Encrypt", "KeyId", key, "Plaintext", PLAINTEXT, "DryRun", "false");
            decrypts(done.text("CiphertextBlob"), null, PLAINTEXT, key);
        });
    }

    private void errors() {
        step("tells-a-key-that-is-not-there", () -> {
            for (String key : List.of(UNKNOWN_KEY, "key-hzz000000000000000001", "key-does-not-exist")) {
                kms.refused("Forbidden.KeyNotFound", 404, "DescribeKey", "KeyId", key);
                kms.refused("Forbidden.KeyNotFound", 404, "Encrypt", "KeyId", key, "Plaintext", PLAINTEXT);
            }
            for (String alias : List.of("alias/none", "alias/acs/mse")) {
                kms.refused("Forbidden.AliasNotFound", 404, "GenerateDataKey", "KeyId", alias);
            }
        });
        step("names-the-parameter-that-is-wrong", () -> {
            String key = newKey();
            Refused refusal =
                    kms.refused("InvalidParameter", 400, "Encrypt", "KeyId", key, "Plaintext", "no Base64: ü");
            holds(refusal.getMessage().contains("Plaintext"), refusal.getMessage());
            if (!kms.checksParameters()) {
                refusal = kms.refused("MissingParameter", 400, "Encrypt", "KeyId", key);
                holds(refusal.getMessage().contains("Plaintext"), refusal.getMessage());
            }
        });
        step("keeps-the-kinds-of-keys-apart", () -> {
            String key = newKey();
            kms.refused("Rejected.UnsupportedOperation", 400, "GetPublicKey", "KeyId", key, "KeyVersionId",
                    kms.call("ListKeyVersions", "KeyId", key).text("KeyVersionId"));
            String pair = newKey("KeySpec", "EC_P256", "KeyUsage", "SIGN/VERIFY");
            kms.refused("Rejected.UnsupportedOperation", 400, "Encrypt", "KeyId", pair, "Plaintext", PLAINTEXT);
        });
    }
}
