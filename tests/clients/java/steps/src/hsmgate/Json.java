package hsmgate;

import java.util.List;
import java.util.Map;

/** Writes the JSON that some parameters hold. */
public final class Json {
    private Json() {}

    public static String text(Object value) {
        StringBuilder text = new StringBuilder();
        write(value, text);
        return text.toString();
    }

    private static void write(Object value, StringBuilder text) {
        if (value instanceof Map<?, ?> map) {
            String separator = "{";
            for (Map.Entry<?, ?> member : map.entrySet()) {
                text.append(separator);
                write(String.valueOf(member.getKey()), text);
                text.append(':');
                write(member.getValue(), text);
                separator = ",";
            }
            text.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> list) {
            String separator = "[";
            for (Object item : list) {
                text.append(separator);
                write(item, text);
                separator = ",";
            }
            text.append(list.isEmpty() ? "[]" : "]");
        } else if (value instanceof Number || value instanceof Boolean) {
            text.append(value);
        } else {
            text.append('"');
            for (char sign : String.valueOf(value).toCharArray()) {
                if (sign == '"' || sign == '\\' || sign < ' ') {
                    text.append(String.format("\\u%04x", (int) sign));
                } else {
                    text.append(sign);
                }
            }
            text.append('"');
        }
    }
}
