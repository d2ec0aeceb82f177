package android.util;

public class LruCache<K, V> {
    public LruCache(int most) {}
    public final native V get(K key);
    public final native V put(K key, V value);
    protected native int sizeOf(K key, V value);
}
