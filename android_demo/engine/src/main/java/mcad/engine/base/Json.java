package mcad.engine.base;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.json.JSONTokener;

/**
 * JSON text to and from maps, lists, strings, Long, Double, Boolean and null, by org.json: a part of Android, and a jar
 * on the JVM. The two differ in the numbers that they return, in checked exceptions and in what they take beyond RFC
 * 8259; the engine sees none of that. Only members that both have with the same types are called here, since classes
 * that were compiled against the jar run on Android, too.
 */
public final class Json {
    private static final int MAX_DEPTH = 64;
    private static final String SPACE = " \t\r\n";
    private static final String ESCAPES = "\"\\/bfnrtu";
    private static final Pattern LITERAL = Pattern.compile(
        "true|false|null|-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]{1,3})?");

    private Json() {}

    /** Parse a document. IllegalArgumentException says why it is not JSON. */
    public static Object parse(String text) {
        check(text);
        try {
            return plain(new JSONTokener(text).nextValue());
        } catch (Exception error) { // JSONException is checked on Android and unchecked on the JVM
            throw new IllegalArgumentException("not JSON: " + error.getMessage(), error);
        }
    }

    /** Write a map or a list. IllegalArgumentException for NaN, infinity, or a type that JSON does not have. */
    public static String write(Object value) {
        try {
            return withoutSurrogates(tree(value).toString());
        } catch (JSONException error) {
            throw new IllegalArgumentException(error.getMessage(), error);
        }
    }

    /** A map with these keys and values, in this order. */
    public static Map<String, Object> object(Object... keysAndValues) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < keysAndValues.length; i += 2) {
            map.put((String) keysAndValues[i], keysAndValues[i + 1]);
        }
        return map;
    }

    /**
     * Refuse what org.json takes beyond JSON: comments, words without quotes, missing and superfluous commas, text behind
     * the value, and levels without end, over which it would overflow the stack.
     */
    private static void check(String text) {
        int depth = 0;
        char before = ','; // what stands before: a mark, or '0' for a value that has ended
        for (int at = 0; at < text.length();) {
            char c = text.charAt(at);
            if (SPACE.indexOf(c) >= 0) {
                at++;
                continue;
            }
            boolean ended = before == '0';
            boolean ends = c == '}' || c == ']';
            boolean closes = ends && (ended || before == (c == '}' ? '{' : '['));
            boolean follows = ended ? depth > 0 && (c == ',' || c == ':') : c != ',' && c != ':' && !ends;
            if (!closes && !follows) {
                throw wrong("'" + c + "' is not expected", at);
            }
            if (ends) {
                depth--;
            } else if ((c == '{' || c == '[') && ++depth > MAX_DEPTH) {
                throw wrong("there are more than " + MAX_DEPTH + " levels", at);
            }
            if ("{[,:".indexOf(c) >= 0) {
                before = c;
                at++;
            } else {
                before = '0';
                at = ends ? at + 1 : c == '"' ? endOfString(text, at) : endOfLiteral(text, at);
            }
        }
        if (depth != 0 || before != '0') {
            throw wrong("it ends too early", text.length());
        }
    }

    private static int endOfString(String text, int start) {
        for (int at = start + 1; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                return at + 1;
            }
            if (c < ' ' || c == '\\' && (++at == text.length() || ESCAPES.indexOf(text.charAt(at)) < 0)) {
                throw wrong("the string has a character that needs another escape", at);
            }
        }
        throw wrong("the string has no end", start);
    }

    private static int endOfLiteral(String text, int start) {
        int end = start;
        while (end < text.length() && (SPACE + "{}[],:\"").indexOf(text.charAt(end)) < 0) {
            end++;
        }
        if (!LITERAL.matcher(text.substring(start, end)).matches()) {
            throw wrong("there is no such value", start);
        }
        return end;
    }

    private static IllegalArgumentException wrong(String why, int at) {
        return new IllegalArgumentException("not JSON: " + why + " at character " + at);
    }

    private static Object plain(Object value) throws JSONException {
        if (value == JSONObject.NULL) {
            return null;
        }
        if (value instanceof JSONObject object) {
            Map<String, Object> map = new LinkedHashMap<>();
            for (Iterator<String> keys = object.keys(); keys.hasNext();) {
                String key = keys.next();
                map.put(key, plain(object.get(key)));
            }
            return map;
        }
        if (value instanceof JSONArray array) {
            List<Object> list = new ArrayList<>();
            for (int i = 0; i < array.length(); i++) {
                list.add(plain(array.get(i)));
            }
            return list;
        }
        if (value instanceof Integer || value instanceof Long) {
            return ((Number) value).longValue();
        }
        if (value instanceof Number number) {
            double real = number.doubleValue();
            if (Double.isInfinite(real)) {
                throw new JSONException("a number is too large for a double");
            }
            return real;
        }
        return value;
    }

    private static Object tree(Object value) throws JSONException {
        if (value instanceof Map<?, ?> map) {
            JSONObject object = new JSONObject();
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                object.put((String) entry.getKey(), tree(entry.getValue()));
            }
            return object;
        }
        if (value instanceof Iterable<?> items) {
            JSONArray array = new JSONArray();
            for (Object item : items) {
                array.put(tree(item));
            }
            return array;
        }
        if (value == null) {
            return JSONObject.NULL;
        }
        if (value instanceof Number number && Double.isFinite(number.doubleValue()) || value instanceof String
                || value instanceof Boolean) {
            return value;
        }
        throw new IllegalArgumentException("JSON has no " + value.getClass().getName() + " " + value);
    }

    /** The same document with surrogates as escapes: a path may have one alone, which UTF-8 cannot hold. */
    private static String withoutSurrogates(String json) {
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
}
