package io.github.mcadmobile.engine.text;

import java.util.Arrays;

/** A growing array of ints. */
final class Ids {
    int[] values = new int[32];
    int count;

    void add(int id) {
        if (count == values.length) {
            values = Arrays.copyOf(values, 2 * count);
        }
        values[count++] = id;
    }

    /** Reverses the ids from {@code from} on. */
    void reverse(int from) {
        for (int i = from, j = count - 1; i < j; i++, j--) {
            int id = values[i];
            values[i] = values[j];
            values[j] = id;
        }
    }
}
