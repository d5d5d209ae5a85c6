package hsmgate;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The values of an answer with their names, in order: nesting and lists flattened, empty ones left out.
 *
 * <p>The SDKs differ in how they nest lists and in how they write `DKMSInstanceId`, so names count
 * without regard to case. A plain value in a list has the name of the list. */
public final class Leaves {
    private final List<Map.Entry<String, String>> all = new ArrayList<>();

    public void add(String name, Object value) {
        String text = text(value);
        if (!text.isEmpty()) {
            all.add(Map.entry(named(name), text));
        }
    }

    /** Labels have the name of their list, or of an element in it. */
    private static String named(String name) {
        String lower = name.toLowerCase(Locale.ROOT);
        return lower.equals("versionstages") ? "versionstage" : lower;
    }

    /** Numbers as whole ones where they are whole: JSON readers make doubles of some. */
    private static String text(Object value) {
        if (value instanceof Double number && number == Math.rint(number)) {
            return Long.toString(number.longValue());
        }
        return value == null ? "" : String.valueOf(value);
    }

    /** The first value of this name, or null. */
    public String text(String name) {
        List<String> values = all(name);
        return values.isEmpty() ? null : values.get(0);
    }

    /** Every value of this name, in order. */
    public List<String> all(String name) {
        String wanted = name.toLowerCase(Locale.ROOT);
        return all.stream().filter(leaf -> leaf.getKey().equals(wanted)).map(Map.Entry::getValue).toList();
    }

    public byte[] bytes(String name) {
        return Bytes.bytes(text(name));
    }

    public long number(String name) {
        return Long.parseLong(text(name));
    }

    /** What is here and not there, as `name=value`; equal ones are counted. */
    public List<String> without(Leaves other) {
        List<Map.Entry<String, String>> left = new ArrayList<>(all);
        for (Map.Entry<String, String> leaf : other.all) {
            left.remove(leaf);
        }
        return left.stream().map(leaf -> leaf.getKey() + "=" + leaf.getValue()).toList();
    }

    /** The leaves of a tree of maps and lists, as readers of JSON make it. */
    public static Leaves ofTree(Object tree) {
        Leaves leaves = new Leaves();
        leaves.addTree("", tree);
        return leaves;
    }

    private void addTree(String name, Object tree) {
        if (tree instanceof Map<?, ?> map) {
            // A list comes as {"VpcIds": {"VpcId": [...]}} or as {"VpcIds": [...]}.
            if (map.size() == 1 && map.values().iterator().next() instanceof List<?> list) {
                String inner = String.valueOf(map.keySet().iterator().next());
                addTree(name.isEmpty() ? inner : name, list);
            } else {
                map.forEach((key, value) -> addTree(String.valueOf(key), value));
            }
        } else if (tree instanceof List<?> list) {
            list.forEach(item -> addTree(name, item));
        } else {
            add(name, tree);
        }
    }
}
