package android.util;

import java.util.Map;

public class LruCache<K, V> {
    public LruCache(int most) {}
    public final native V get(K key);
    public final native V put(K key, V value);
    public final native V remove(K key);
    public final native Map<K, V> snapshot();
    protected native int sizeOf(K key, V value);
}
