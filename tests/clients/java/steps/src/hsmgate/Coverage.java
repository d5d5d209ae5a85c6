package hsmgate;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/** What the typed answers of a whole run held: which fields were set, and what did not decode. */
public final class Coverage {
    private static final class Seen {
        final Set<String> missing = new TreeSet<>();
        /** What was sent and is not in the typed answer, by its name. */
        final Map<String, String> unread = new TreeMap<>();
        /** What is in the typed answer and was not sent. */
        final Set<String> invented = new TreeSet<>();

        Seen(Class<?> type) {
            missing.addAll(Models.paths(type));
        }
    }

    private final Map<String, Seen> actions = new TreeMap<>();

    /** Takes in one answer: as the gateway sent it, and as the SDK has read it. */
    public synchronized void answered(String action, Object typed, Leaves sent) throws Exception {
        Seen seen = actions.computeIfAbsent(action, name -> new Seen(typed.getClass()));
        seen.missing.removeAll(Models.filled(typed));
        Leaves read = Models.leaves(typed);
        for (String leaf : sent.without(read)) {
            seen.unread.putIfAbsent(leaf.substring(0, leaf.indexOf('=')), leaf);
        }
        for (String leaf : read.without(sent)) {
            seen.invented.add(leaf);
        }
    }

    /** Takes in one answer of an SDK that does not show what was sent. */
    public synchronized void answered(String action, Object typed) throws Exception {
        Seen seen = actions.computeIfAbsent(action, name -> new Seen(typed.getClass()));
        seen.missing.removeAll(Models.filled(typed));
    }

    public synchronized Set<String> actions() {
        return new TreeSet<>(actions.keySet());
    }

    /** One step for each action that was answered: every answer was decoded whole, and every field was
     * set at least once, but for the absences. An absence has a reason, and its name is `Action.Path` for a
     * field that is never set, or `Action:name` for what is sent and has no field. One that is none fails. */
    public void report(Steps steps, String prefix, Map<String, String> absences) {
        Map<String, String> unused = new LinkedHashMap<>(absences);
        actions.forEach((action, seen) -> {
            String name = action.replaceAll("(?<=[a-z])(?=[A-Z])", "-").toLowerCase(Locale.ROOT);
            List<String> missing = new ArrayList<>();
            for (String path : seen.missing) {
                // An absence covers the fields below it.
                String whole = action + "." + path;
                String listed = absences.keySet().stream()
                        .filter(absence -> whole.equals(absence) || whole.startsWith(absence + "."))
                        .findFirst().orElse(null);
                if (listed == null) {
                    missing.add(path);
                } else {
                    unused.remove(listed);
                }
            }
            Map<String, String> unread = new TreeMap<>(seen.unread);
            seen.unread.keySet().forEach(leaf -> {
                if (absences.containsKey(action + ":" + leaf)) {
                    unused.remove(action + ":" + leaf);
                    unread.remove(leaf);
                }
            });
            steps.step(prefix + "answer-of-" + name + "-decodes-whole", () -> {
                Steps.holds(unread.isEmpty(), "sent and not read: " + unread);
                Steps.holds(seen.invented.isEmpty(), "read and not sent: " + seen.invented);
                Steps.holds(missing.isEmpty(), "never set: " + missing);
            });
        });
        steps.step(prefix + "no-listed-absence-is-set", () -> Steps.equal(Set.of(), unused.keySet()));
    }
}
