package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.json.JSONTokener;

/**
 * A JSON object (org.json) whose fields are read by name and type; McadException names a wrong field. org.json is part
 * of Android, and a jar on the JVM. Classes compiled against the jar also run on Android, so only members that both
 * have with the same types may be called here.
 */
public final class JsonFields {
    /** Types of fields, and how error messages call them. */
    private static final Map<Class<?>, String> TYPES = Map.of(String.class, "a string", Long.class, "an integer",
        Number.class, "a number", Boolean.class, "true or false", JSONArray.class, "an array", JSONObject.class,
        "an object");
    private static final int LONGEST = 80;

    private final JSONObject object;
    private final String where;
    private final String hint;

    private JsonFields(JSONObject object, String where, String hint) {
        this.object = object;
        this.where = where;
        this.hint = hint;
    }

    /** Parse a JSON object; {@code where} and {@code hint} go into error messages. */
    public static JsonFields parse(String text, String where, String hint) throws McadException {
        try {
            JSONTokener tokens = new JSONTokener(text);
            if (tokens.nextValue() instanceof JSONObject object) {
                if (tokens.nextClean() != 0) {
                    throw new JSONException("text follows the object");
                }
                return new JsonFields(object, where, hint);
            }
        } catch (JSONException | StackOverflowError error) { // Android's parser does not limit nesting
            throw new McadException(where + " cannot be read: it is not JSON: " + error.getMessage() + ".", hint, error);
        }
        throw new McadException(where + " is not a JSON object.", hint);
    }

    /** As above, for a file of the app itself that it writes again if it cannot read it. */
    public static JsonFields parse(String text, String where) throws McadException {
        return parse(text, where, "The app writes it again.");
    }

    /** A document to write: a map with these keys and values, in order. */
    public static Map<String, Object> of(Object... keysAndValues) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < keysAndValues.length; i += 2) {
            Object value = keysAndValues[i + 1];
            map.put((String) keysAndValues[i], value == null ? JSONObject.NULL : value);
        }
        return map;
    }

    /**
     * Serialize a map or a list of maps, lists, strings, numbers, booleans and {@link JSONObject#NULL}. Surrogates are
     * escaped, because a path may hold a lone one, which UTF-8 cannot. RuntimeException for NaN and infinity.
     */
    public static String write(Object document) {
        Object wrapped = JSONObject.wrap(document);
        String json = wrapped == null ? null : wrapped.toString(); // null where Android's version fails
        if (json == null) {
            throw new IllegalArgumentException("JSON has no such value: " + document);
        }
        StringBuilder out = new StringBuilder(json.length());
        for (int i = 0; i < json.length(); i++) {
            char c = json.charAt(i);
            if (Character.isSurrogate(c)) {
                out.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }

    /** As {@link #write}, byte for byte as Python writes such a document: a space after each comma and colon. */
    public static void writeLine(Object document, StringBuilder out) {
        if (document instanceof Map<?, ?> map) {
            String before = "{";
            for (Map.Entry<?, ?> field : map.entrySet()) {
                writeLine(field.getKey(), out.append(before));
                writeLine(field.getValue(), out.append(": "));
                before = ", ";
            }
            out.append(map.isEmpty() ? "{}" : "}");
        } else if (document instanceof List<?> list) {
            String before = "";
            out.append('[');
            for (Object item : list) {
                writeLine(item, out.append(before));
                before = ", ";
            }
            out.append(']');
        } else if (document instanceof String text) {
            out.append('"');
            for (char c : text.toCharArray()) {
                int at = "\"\\\b\f\n\r\t".indexOf(c);
                out.append(at >= 0 ? "\\" + "\"\\bfnrt".charAt(at) : c < ' ' ? String.format("\\u%04x", (int) c) : "" + c);
            }
            out.append('"');
        } else {
            out.append(document);
        }
    }

    /** Whether the field exists and is not null. */
    public boolean has(String key) {
        return value(key) != null;
    }

    public Iterable<String> names() {
        List<String> names = new ArrayList<>();
        for (Iterator<String> keys = object.keys(); keys.hasNext();) {
            names.add(keys.next());
        }
        return names;
    }

    public String string(String key) throws McadException {
        return typed(key, String.class);
    }

    public long integer(String key) throws McadException {
        return typed(key, Long.class);
    }

    public int integer(String key, int least, int most) throws McadException {
        long value = integer(key);
        if (value < least || value > most) {
            throw wrong(key, "an integer from " + least + " to " + most);
        }
        return (int) value;
    }

    public double number(String key) throws McadException {
        double value = typed(key, Number.class).doubleValue();
        if (Double.isInfinite(value)) {
            throw wrong(key, "a number that fits a double");
        }
        return value;
    }

    public boolean flag(String key) throws McadException {
        return typed(key, Boolean.class);
    }

    public JsonFields object(String key) throws McadException {
        return new JsonFields(typed(key, JSONObject.class), where + ": " + key, hint);
    }

    public List<JsonFields> objects(String key) throws McadException {
        List<JsonFields> found = new ArrayList<>();
        for (JSONObject item : list(key, JSONObject.class)) {
            found.add(new JsonFields(item, where + ": " + key, hint));
        }
        return found;
    }

    /** The items of an array, all of {@code type}: String, Long, Number, Boolean, JSONArray or JSONObject. */
    public <T> List<T> list(String key, Class<T> type) throws McadException {
        JSONArray array = typed(key, JSONArray.class);
        List<T> found = new ArrayList<>();
        for (int i = 0; i < array.length(); i++) {
            Object item = plain(array.opt(i));
            if (!type.isInstance(item)) {
                throw wrong(key, "an array whose items are each " + TYPES.get(type));
            }
            found.add(type.cast(item));
        }
        return found;
    }

    private <T> T typed(String key, Class<T> type) throws McadException {
        Object value = value(key);
        if (!type.isInstance(value)) {
            throw wrong(key, TYPES.get(type));
        }
        return type.cast(value);
    }

    private Object value(String key) {
        return plain(object.opt(key));
    }

    private static Object plain(Object value) {
        if (value == JSONObject.NULL) {
            return null;
        }
        return value instanceof Integer small ? (Object) small.longValue() : value;
    }

    /** The error for a missing or wrong field; {@code right} is what belongs there, such as "an integer". */
    public McadException wrong(String key, String right) {
        Object value = value(key);
        if (value == null) {
            return new McadException(where + " lacks " + key + ".", hint);
        }
        String shown = value instanceof String ? "'" + value + "'" : value.toString();
        if (shown.length() > LONGEST) {
            shown = shown.substring(0, LONGEST) + "...";
        }
        return new McadException(where + " has " + shown + " in " + key + ", where " + right + " belongs.", hint);
    }

    /** The underlying object, as a value for {@link #write}. */
    Object document() {
        return object;
    }
}
