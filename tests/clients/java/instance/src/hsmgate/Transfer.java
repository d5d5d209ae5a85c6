package hsmgate;

import static hsmgate.Bytes.base64;
import static hsmgate.Steps.equal;
import static hsmgate.Steps.holds;

import com.aliyun.kms.KmsTransferAcsClient;
import com.aliyuncs.exceptions.ClientException;
import com.aliyuncs.kms.model.v20160120.AsymmetricSignRequest;
import com.aliyuncs.kms.model.v20160120.AsymmetricVerifyRequest;
import com.aliyuncs.kms.model.v20160120.GenerateDataKeyRequest;
import com.aliyuncs.kms.model.v20160120.GenerateDataKeyResponse;
import com.aliyuncs.kms.model.v20160120.GetPublicKeyRequest;
import com.aliyuncs.kms.model.v20160120.ListKeyVersionsRequest;

/** The transfer client: requests of the old SDK, carried to an instance. */
final class Transfer {
    private static final String PLAINTEXT = base64(Instance.MESSAGE);
    private static final String CONTEXT = "{\"tenant\":\"blue\",\"город\":\"杭州\"}";

    private Transfer() {}

    static void steps(Steps steps, String prefix, PublicApi kms, Gateway gateway) throws Exception {
        PublicApi.ClientKey clientKey = kms.newClientKey("[\"key/*\"]");
        KmsTransferAcsClient client = new KmsTransferAcsClient(PublicApi.profile(gateway),
                Instance.config(gateway).setClientKeyContent(clientKey.content()).setPassword(PublicApi.PASSWORD));
        PublicApi transfer = new PublicApi(gateway, client);
        steps.step(prefix + "transfer-opens-what-the-public-api-has-sealed", () -> {
            String key = kms.newKey();
            equal(PLAINTEXT, transfer.decrypt(kms.encrypt(key, PLAINTEXT, CONTEXT), CONTEXT));
            String sealed = transfer.encrypt(key, PLAINTEXT, CONTEXT);
            equal(PLAINTEXT, kms.decrypt(sealed, CONTEXT));
            equal(PLAINTEXT, transfer.decrypt(sealed, CONTEXT));
            try {
                transfer.decrypt(sealed, "{\"tenant\":\"red\"}");
            } catch (ClientException refusal) {
                // The client has words of its own for some codes of the instance.
                holds(refusal.getErrCode().startsWith("InvalidParameter"), refusal.toString());
                return;
            }
            throw new AssertionError("another context was taken");
        });
        steps.step(prefix + "transfer-generates-data-keys", () -> {
            GenerateDataKeyRequest request = new GenerateDataKeyRequest();
            request.setKeyId(kms.newKey());
            request.setNumberOfBytes(48);
            request.setEncryptionContext(CONTEXT);
            GenerateDataKeyResponse made = transfer.call(request);
            equal(48, Bytes.bytes(made.getPlaintext()).length);
            equal(made.getPlaintext(), kms.decrypt(made.getCiphertextBlob(), CONTEXT));
        });
        steps.step(prefix + "transfer-signs-what-java-verifies", () -> {
            // Made by it too: what an instance does not know goes to the public API.
            String key = transfer.newKey("EC_P256", "SIGN/VERIFY");
            ListKeyVersionsRequest versions = new ListKeyVersionsRequest();
            versions.setKeyId(key);
            String version = transfer.call(versions).getKeyVersions().get(0).getKeyVersionId();
            AsymmetricSignRequest request = new AsymmetricSignRequest();
            request.setKeyId(key);
            request.setKeyVersionId(version);
            request.setAlgorithm("ECDSA_SHA_256");
            request.setDigest(base64(JavaCrypto.sha256(Instance.MESSAGE)));
            String signature = transfer.call(request).getValue();
            GetPublicKeyRequest half = new GetPublicKeyRequest();
            half.setKeyId(key);
            half.setKeyVersionId(version);
            String pem = transfer.call(half).getPublicKey();
            holds(JavaCrypto.verifies("ECDSA_SHA_256", pem, Instance.MESSAGE, Bytes.bytes(signature)),
                    "it is not good");
            for (String message : new String[] {"attack at dawn", "another"}) {
                AsymmetricVerifyRequest verify = new AsymmetricVerifyRequest();
                verify.setKeyId(key);
                verify.setKeyVersionId(version);
                verify.setAlgorithm("ECDSA_SHA_256");
                verify.setValue(signature);
                verify.setDigest(base64(JavaCrypto.sha256(
                        message.equals("another") ? Bytes.utf8(message) : Instance.MESSAGE)));
                equal(!message.equals("another"), transfer.call(verify).getValue());
            }
        });
    }
}
