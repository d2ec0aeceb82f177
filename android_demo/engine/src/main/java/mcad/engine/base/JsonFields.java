package mcad.engine.base;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import mcad.engine.McadException;

/** A JSON object whose fields are asked for by name and type; McadException names the one that is wrong. */
public final class JsonFields {
    private final Map<?, ?> map;
    private final String where;
    private final String hint;

    private JsonFields(Map<?, ?> map, String where, String hint) {
        this.map = map;
        this.where = where;
        this.hint = hint;
    }

    /** Parse a document that is an object. {@code where} and {@code hint} go into error messages. */
    public static JsonFields parse(String text, String where, String hint) throws McadException {
        try {
            if (Json.parse(text) instanceof Map<?, ?> map) {
                return new JsonFields(map, where, hint);
            }
        } catch (IllegalArgumentException error) {
            throw new McadException(where + " cannot be read: " + error.getMessage() + ".", hint, error);
        }
        throw new McadException(where + " is not a JSON object.", hint);
    }

    public boolean has(String key) {
        return map.get(key) != null;
    }

    public Iterable<String> names() {
        List<String> names = new ArrayList<>();
        for (Object key : map.keySet()) {
            names.add((String) key);
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
            throw wrong(key, value + " is not " + least + " to " + most);
        }
        return (int) value;
    }

    public double number(String key) throws McadException {
        return typed(key, Number.class).doubleValue();
    }

    public boolean flag(String key) throws McadException {
        return typed(key, Boolean.class);
    }

    public JsonFields object(String key) throws McadException {
        return new JsonFields(typed(key, Map.class), where + ": " + key, hint);
    }

    public List<JsonFields> objects(String key) throws McadException {
        List<JsonFields> found = new ArrayList<>();
        for (Object item : typed(key, List.class)) {
            if (!(item instanceof Map<?, ?> object)) {
                throw wrong(key, "one of its items is not an object");
            }
            found.add(new JsonFields(object, where + ": " + key, hint));
        }
        return found;
    }

    public <T> List<T> list(String key, Class<T> type) throws McadException {
        List<T> found = new ArrayList<>();
        for (Object item : typed(key, List.class)) {
            if (!type.isInstance(item)) {
                throw wrong(key, item + " is not a " + type.getSimpleName());
            }
            found.add(type.cast(item));
        }
        return found;
    }

    private <T> T typed(String key, Class<T> type) throws McadException {
        Object value = map.get(key);
        if (!type.isInstance(value)) {
            throw wrong(key, value == null ? "it is missing" : value + " is not a " + type.getSimpleName());
        }
        return type.cast(value);
    }

    /** The error for a field that is not as it should be. */
    public McadException wrong(String key, String why) {
        return new McadException(where + " lacks or misnames field " + key + ": " + why + ".", hint);
    }
}
