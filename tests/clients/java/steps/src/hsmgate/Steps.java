package hsmgate;

import java.util.HashSet;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** The steps of one client: each is named once, and ends in a line of its own on standard output. */
public final class Steps {
    /** How long a step may take: far more than any call, so that none hangs the whole run. */
    private static final long LIMIT_SECONDS = 120;

    private final Set<String> names = new HashSet<>();
    private int failures;

    /** What a step does; it fails by throwing. */
    public interface Body {
        void run() throws Throwable;
    }

    /** Runs a step in a thread of its own, and says how it ended. */
    public void step(String name, Body body) {
        if (!name.matches("[a-z0-9]+(-[a-z0-9]+)*") || !names.add(name)) {
            throw new IllegalArgumentException("not a name, or not the first of it: " + name);
        }
        FutureTask<Throwable> task = new FutureTask<>(() -> failureOf(body));
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        thread.start();
        String reason = null;
        try {
            Throwable failure = task.get(LIMIT_SECONDS, TimeUnit.SECONDS);
            if (failure != null) {
                reason = reason(failure);
            }
        } catch (TimeoutException late) {
            reason = "no end after " + LIMIT_SECONDS + " seconds";
        } catch (InterruptedException | ExecutionException broken) {
            reason = broken.toString();
        }
        if (reason == null) {
            System.out.println("passed " + name);
        } else {
            failures++;
            System.out.println("failed " + name + ": " + reason);
        }
    }

    private static Throwable failureOf(Body body) {
        try {
            body.run();
            return null;
        } catch (Throwable failure) {
            return failure;
        }
    }

    /** One line that tells what went wrong, where, and by what cause. */
    private static String reason(Throwable failure) {
        StringBuilder text = new StringBuilder();
        for (Throwable at = failure; at != null && text.length() < 1500; at = at.getCause()) {
            text.append(text.length() == 0 ? "" : " <- ").append(at);
        }
        for (StackTraceElement frame : failure.getStackTrace()) {
            if (frame.getClassName().startsWith("hsmgate.") && !frame.getClassName().equals("hsmgate.Steps")) {
                text.append(" at ").append(frame.getFileName()).append(':').append(frame.getLineNumber());
                break;
            }
        }
        return text.toString().replaceAll("\\s+", " ");
    }

    /** Ends the program: with 1 if a step has failed. */
    public void finish() {
        System.out.flush();
        System.exit(failures == 0 ? 0 : 1);
    }

    /** Fails unless the two are equal. */
    public static void equal(Object expected, Object actual) {
        if (!Objects.deepEquals(expected, actual)) {
            throw new AssertionError("expected " + shown(expected) + ", not " + shown(actual));
        }
    }

    /** Fails unless the two are different. */
    public static void differ(Object one, Object other) {
        if (Objects.deepEquals(one, other)) {
            throw new AssertionError("both are " + shown(one));
        }
    }

    /** Fails unless it holds. */
    public static void holds(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    private static String shown(Object value) {
        return value instanceof byte[] bytes ? Bytes.hex(bytes) : String.valueOf(value);
    }
}
