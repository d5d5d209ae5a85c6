package hsmgate;

/** A refusal, as the SDK has shown it. */
public final class Refused extends Exception {
    private static final long serialVersionUID = 1;

    public final String code;
    /** The HTTP status; 0 where the SDK does not tell it. */
    public final int status;
    public final String requestId;

    public Refused(String code, int status, String message, String requestId, Throwable cause) {
        super(status + " " + code + ": " + message, cause);
        this.code = code;
        this.status = status;
        this.requestId = requestId;
    }
}
