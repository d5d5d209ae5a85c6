package hsmgate;

import static hsmgate.Steps.holds;

/** Who is let in, and how an SDK shows that somebody is not, or calls too often. */
public final class Authentication {
    private Authentication() {}

    public static void steps(Steps steps, String prefix, Kms.Connect connect, Gateway gateway, Gateway throttled) {
        // The old SDK has a code of its own for this.
        steps.step(prefix + "refuses-a-wrong-secret", () -> {
            try {
                connect.to(gateway.with("access_key_secret", "not-the-secret-of-this-access-key")).call("ListKeys");
            } catch (Refused refusal) {
                holds(refusal.code.equals("SignatureDoesNotMatch") || refusal.code.equals("SDK.InvalidAccessKeySecret"),
                        refusal.getMessage());
                return;
            }
            throw new AssertionError("it was let in");
        });
        steps.step(prefix + "refuses-an-unknown-access-key", () ->
                connect.to(gateway.with("access_key_id", "LTAI0000000000000000")).refused(
                        "InvalidAccessKeyId.NotFound", 404, "ListKeys"));
        steps.step(prefix + "shows-throttling", () -> {
            Kms kms = connect.to(throttled);
            Object[] call = {"KeyId", "alias/demo", "Plaintext", Bytes.base64("x")};
            for (int number = 0; number < 100; number++) {
                try {
                    kms.call("Encrypt", call);
                } catch (Refused refusal) {
                    Steps.equal("429 Rejected.Throttling", refusal.status + " " + refusal.code);
                    return;
                }
            }
            throw new AssertionError("100 calls in a row were served at 5 a second");
        });
    }

    /** Temporary credentials of the one user, for a gateway that speaks TLS. */
    public static void temporary(Steps steps, Kms.Connect connect, Gateway gateway) {
        steps.step(gateway.protocol() + "-takes-temporary-credentials", () -> {
            Gateway session = gateway.temporary();
            Gateway other = gateway.temporary();
            for (Gateway made : new Gateway[] {session, other}) {
                known(connect.to(made));
            }
            String key = connect.to(session).call("CreateKey").text("KeyId");
            Steps.equal(key, connect.to(gateway).call("DescribeKey", "KeyId", key).text("KeyId"));
            connect.to(session.with("security_token", other.get("security_token"))).refused(
                    "InvalidSecurityToken.MismatchWithAccessKey", 400, "ListKeys");
        });
    }

    /** Waits until the gateway has heard of credentials that were made beside it, which it does within a second. */
    private static void known(Kms kms) throws Exception {
        long limit = System.nanoTime() + 20_000_000_000L;
        while (true) {
            try {
                kms.call("ListKeys");
                return;
            } catch (Refused refusal) {
                if (!refusal.code.equals("InvalidAccessKeyId.NotFound") || System.nanoTime() > limit) {
                    throw refusal;
                }
                Thread.sleep(100);
            }
        }
    }
}
