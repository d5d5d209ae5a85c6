package hsmgate;

import static hsmgate.Steps.equal;

/** Plaintext that is no Base64, at a gateway that is set to take it. */
public final class Text {
    private Text() {}

    public static void steps(Steps steps, Kms.Connect connect) throws Exception {
        Gateway gateway = Gateway.named("HSMGATE_TEXT_DEV_JSON");
        steps.step("encrypts-text-as-it-stands-where-that-is-set", () -> {
            Kms kms = connect.to(gateway);
            for (String text : new String[] {"key: \"Grüße\"\n  <other>: 杭州 & more\n", "no Base64!", " "}) {
                Leaves sealed = kms.call("Encrypt", "KeyId", gateway.get("alias"), "Plaintext", text);
                Leaves opened = kms.call("Decrypt", "CiphertextBlob", sealed.text("CiphertextBlob"));
                equal(text, opened.text("Plaintext"));
            }
            String base64 = Bytes.base64("still Base64");
            Leaves sealed = kms.call("Encrypt", "KeyId", gateway.get("alias"), "Plaintext", base64);
            equal(base64, kms.call("Decrypt", "CiphertextBlob", sealed.text("CiphertextBlob")).text("Plaintext"));
        });
    }
}
