package io.github.mcadmobile.desktop;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.lang.reflect.RecordComponent;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.json.JSONObject;

/** What an object shows to its users, its public fields or a record's components, as maps and lists for JSON. */
final class PublicValues {
    private PublicValues() {}

    static Object of(Object value) {
        if (value == null) {
            return JSONObject.NULL;
        }
        if (value instanceof String || value instanceof Number || value instanceof Boolean) {
            return value;
        }
        if (value instanceof Path) {
            return value.toString();
        }
        if (value instanceof Enum<?> constant) {
            return constant.name().toLowerCase(Locale.ROOT);
        }
        if (value instanceof long[] numbers) {
            List<Object> list = new ArrayList<>();
            for (long number : numbers) {
                list.add(number);
            }
            return list;
        }
        if (value instanceof List<?> items) {
            List<Object> list = new ArrayList<>();
            for (Object item : items) {
                list.add(of(item));
            }
            return list;
        }
        Map<String, Object> values = new LinkedHashMap<>();
        if (value instanceof Map<?, ?> entries) {
            entries.forEach((key, entry) -> values.put((String) key, of(entry)));
            return values;
        }
        try {
            if (value instanceof Record) {
                for (RecordComponent component : value.getClass().getRecordComponents()) {
                    values.put(component.getName(), of(component.getAccessor().invoke(value)));
                }
                return values;
            }
            for (Field field : value.getClass().getFields()) {
                if (!Modifier.isStatic(field.getModifiers())) {
                    values.put(field.getName(), of(field.get(value)));
                }
            }
            return values;
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }
}
