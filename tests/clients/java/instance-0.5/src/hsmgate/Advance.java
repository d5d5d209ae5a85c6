package hsmgate;

import static hsmgate.Bytes.base64;
import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import com.aliyun.dkms.gcs.sdk.Client;
import com.aliyun.dkms.gcs.sdk.models.AdvanceDecryptRequest;
import com.aliyun.dkms.gcs.sdk.models.AdvanceDecryptResponse;
import com.aliyun.dkms.gcs.sdk.models.AdvanceEncryptRequest;
import com.aliyun.dkms.gcs.sdk.models.AdvanceEncryptResponse;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyPairRequest;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyPairResponse;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyPairWithoutPlaintextRequest;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyPairWithoutPlaintextResponse;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyRequest;
import com.aliyun.dkms.gcs.sdk.models.AdvanceGenerateDataKeyResponse;
import com.aliyun.dkms.gcs.sdk.models.DecryptRequest;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyPairRequest;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyPairResponse;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyPairWithoutPlaintextRequest;
import com.aliyun.dkms.gcs.sdk.models.GenerateDataKeyPairWithoutPlaintextResponse;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;

/** What the instance SDK has learned since: framed ciphertexts and data key pairs. */
final class Advance {
    private Advance() {}

    static void steps(Steps steps, String prefix, Client client, PublicApi kms) {
        steps.step(prefix + "decrypts-framed-ciphertexts-of-every-version", () -> {
            String key = kms.newKey();
            AdvanceEncryptResponse before = client.advanceEncrypt(sealing(key));
            String version = kms.newVersion(key);
            AdvanceEncryptResponse after = client.advanceEncrypt(sealing(key));
            equal(version, after.getKeyVersionId());
            Steps.differ(version, before.getKeyVersionId());
            for (AdvanceEncryptResponse sealed : new AdvanceEncryptResponse[] {before, after}) {
                equal("240002" + Bytes.hex(Bytes.utf8(sealed.getKeyVersionId())) + Bytes.hex(sealed.getIv()),
                        Bytes.hex(sealed.getCiphertextBlob()).substring(0, 2 * (3 + 36 + 12)));
                AdvanceDecryptResponse opened =
                        client.advanceDecrypt(opening(sealed.getCiphertextBlob(), Instance.AAD));
                equal(Instance.MESSAGE, opened.getPlaintext());
                equal(key, opened.getKeyId());
                Instance.refused("InvalidParameter", 400, () ->
                        client.advanceDecrypt(opening(sealed.getCiphertextBlob(), Bytes.utf8("another"))));
            }
        });
        steps.step(prefix + "generates-framed-data-keys", () -> {
            AdvanceGenerateDataKeyRequest request = new AdvanceGenerateDataKeyRequest()
                    .setKeyId(kms.newKey()).setNumberOfBytes(48).setAad(Instance.AAD);
            AdvanceGenerateDataKeyResponse made = client.advanceGenerateDataKey(request);
            equal(48, made.getPlaintext().length);
            equal(made.getPlaintext(),
                    client.advanceDecrypt(opening(made.getCiphertextBlob(), Instance.AAD)).getPlaintext());
        });
        steps.step(prefix + "opens-framed-text-at-the-public-api", () -> {
            AdvanceEncryptRequest request = sealing(kms.newKey()).setPlaintext(Bytes.utf8(base64("text"))).setAad(null);
            byte[] framed = client.advanceEncrypt(request).getCiphertextBlob();
            byte[] blob = java.util.Arrays.copyOfRange(framed, 3, framed.length);
            // The public API gives back as Plaintext the text that was sealed.
            equal(base64("text"), kms.decrypt(base64(blob), null));
        });
        for (String spec : new String[] {"RSA_2048", "EC_P256"}) {
            String name = spec.toLowerCase(java.util.Locale.ROOT).replace('_', '-');
            steps.step(prefix + "generates-data-key-pairs-of-" + name + "-that-java-reads", () -> {
                String key = kms.newKey();
                for (String form : new String[] {"PEM", "DER"}) {
                    GenerateDataKeyPairResponse made = client.generateDataKeyPair(new GenerateDataKeyPairRequest()
                            .setKeyId(key).setKeyPairSpec(spec).setKeyFormat(form).setAad(Instance.AAD));
                    belong(spec, form, made.getPrivateKeyPlaintext(), made.getPublicKey());
                    DecryptRequest opening = new DecryptRequest().setKeyId(made.getKeyId()).setIv(made.getIv())
                            .setAlgorithm(made.getAlgorithm()).setAad(Instance.AAD)
                            .setCiphertextBlob(made.getPrivateKeyCiphertextBlob());
                    equal(made.getPrivateKeyPlaintext(), client.decrypt(opening).getPlaintext());
                    GenerateDataKeyPairWithoutPlaintextResponse sealed = client.generateDataKeyPairWithoutPlaintext(
                            new GenerateDataKeyPairWithoutPlaintextRequest()
                                    .setKeyId(key).setKeyPairSpec(spec).setKeyFormat(form));
                    opening = new DecryptRequest().setKeyId(sealed.getKeyId()).setIv(sealed.getIv())
                            .setAlgorithm(sealed.getAlgorithm())
                            .setCiphertextBlob(sealed.getPrivateKeyCiphertextBlob());
                    belong(spec, form, client.decrypt(opening).getPlaintext(), sealed.getPublicKey());
                }
            });
            steps.step(prefix + "generates-framed-data-key-pairs-of-" + name + "-that-java-reads", () -> {
                String key = kms.newKey();
                AdvanceGenerateDataKeyPairResponse made = client.advanceGenerateDataKeyPair(
                        new AdvanceGenerateDataKeyPairRequest()
                                .setKeyId(key).setKeyPairSpec(spec).setKeyFormat("PEM").setAad(Instance.AAD));
                belong(spec, "PEM", made.getPrivateKeyPlaintext(), made.getPublicKey());
                equal(made.getPrivateKeyPlaintext(), client.advanceDecrypt(
                        opening(made.getPrivateKeyCiphertextBlob(), Instance.AAD)).getPlaintext());
                AdvanceGenerateDataKeyPairWithoutPlaintextResponse sealed =
                        client.advanceGenerateDataKeyPairWithoutPlaintext(
                                new AdvanceGenerateDataKeyPairWithoutPlaintextRequest()
                                        .setKeyId(key).setKeyPairSpec(spec).setKeyFormat("DER"));
                belong(spec, "DER", client.advanceDecrypt(
                        opening(sealed.getPrivateKeyCiphertextBlob(), null)).getPlaintext(), sealed.getPublicKey());
            });
        }
        steps.step(prefix + "refuses-a-pair-of-another-kind-by-name", () ->
                Instance.refused("InvalidParameter", 400, () -> client.generateDataKeyPair(
                        new GenerateDataKeyPairRequest()
                                .setKeyId(kms.newKey()).setKeyPairSpec("RSA_1024").setKeyFormat("PEM"))));
    }

    private static AdvanceEncryptRequest sealing(String key) {
        return new AdvanceEncryptRequest().setKeyId(key).setPlaintext(Instance.MESSAGE).setAad(Instance.AAD);
    }

    private static AdvanceDecryptRequest opening(byte[] blob, byte[] aad) {
        return new AdvanceDecryptRequest().setCiphertextBlob(blob).setAad(aad);
    }

    /** Whether the private half signs what the public one verifies. */
    private static void belong(String spec, String form, byte[] privateHalf, byte[] publicHalf) throws Exception {
        boolean isPem = form.equals("PEM");
        byte[] pkcs8 = isPem ? JavaCrypto.der(new String(privateHalf, StandardCharsets.US_ASCII)) : privateHalf;
        byte[] spki = isPem ? JavaCrypto.der(new String(publicHalf, StandardCharsets.US_ASCII)) : publicHalf;
        String kind = spec.startsWith("RSA") ? "RSA" : "EC";
        KeyFactory factory = KeyFactory.getInstance(kind);
        PrivateKey signing = factory.generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
        PublicKey verifying = factory.generatePublic(new X509EncodedKeySpec(spki));
        Signature signature = Signature.getInstance(kind.equals("RSA") ? "SHA256withRSA" : "SHA256withECDSA");
        signature.initSign(signing);
        signature.update(Instance.MESSAGE);
        byte[] made = signature.sign();
        signature.initVerify(verifying);
        signature.update(Instance.MESSAGE);
        holds(signature.verify(made), "the halves do not belong together");
    }
}
