package hsmgate;

import java.util.LinkedHashMap;
import java.util.Map;

/** One SDK behind one call, in the names of the API. */
public abstract class Kms {
    /** Makes a client of a gateway with the AccessKey that is given with it. */
    public interface Connect {
        Kms to(Gateway gateway) throws Exception;
    }

    /** Sends a request with the typed classes of the SDK.
     *
     * @throws Refused if the gateway refuses it */
    protected abstract Leaves send(String action, Map<String, Object> parameters) throws Exception;

    /** Whether it has a way to call an action. */
    public boolean knows(String action) {
        return true;
    }

    /** Whether it refuses a missing parameter and a number out of range itself, before it sends anything. */
    public boolean checksParameters() {
        return false;
    }

    /** Whether it asks for answers in XML. */
    public boolean readsXml() {
        return false;
    }

    /** Whether it decodes the escapes of control characters in JSON. */
    public boolean readsEscapes() {
        return true;
    }

    /** Calls an action with names and values in turn; a value that is null leaves its parameter out. */
    public final Leaves call(String action, Object... namesAndValues) throws Exception {
        return send(action, parameters(namesAndValues));
    }

    /** Calls an action that has to be refused with this code and this status. */
    public final Refused refused(String code, int status, String action, Object... namesAndValues) throws Exception {
        try {
            call(action, namesAndValues);
        } catch (Refused refusal) {
            if (!refusal.code.equals(code) || refusal.status != status) {
                throw new AssertionError(action + ": expected " + status + " " + code, refusal);
            }
            Steps.holds(refusal.requestId != null && refusal.requestId.length() == 36, "no request id");
            return refusal;
        }
        throw new AssertionError(action + " was not refused with " + code);
    }

    private static Map<String, Object> parameters(Object... namesAndValues) {
        Map<String, Object> parameters = new LinkedHashMap<>();
        for (int at = 0; at < namesAndValues.length; at += 2) {
            if (namesAndValues[at + 1] != null) {
                parameters.put((String) namesAndValues[at], namesAndValues[at + 1]);
            }
        }
        return parameters;
    }
}
