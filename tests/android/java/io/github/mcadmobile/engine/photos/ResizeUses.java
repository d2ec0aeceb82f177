package io.github.mcadmobile.engine.photos;

import java.util.List;

/** Calls of the resizing kernels that must be refused: pixels outside a row, weights that are not there. */
public final class ResizeUses {
    private ResizeUses() {}

    public static List<Runnable> wrong() {
        int[] argb = new int[5];
        int[] first = {0, 3};
        int[] count = {3, 2};
        int[] weights = new int[6];
        byte[] rgb = new byte[6];
        byte[] rows = new byte[15];
        return List.of(
            () -> Resize.row(null, first, count, weights, rgb, 0),
            () -> Resize.row(argb, null, count, weights, rgb, 0),
            () -> Resize.row(argb, new int[0], new int[0], new int[0], rgb, 0),
            () -> Resize.row(argb, new int[] {0, 4}, count, weights, rgb, 0),
            () -> Resize.row(argb, new int[] {-1, 3}, count, weights, rgb, 0),
            () -> Resize.row(argb, first, new int[] {4, 2}, weights, rgb, 0),
            () -> Resize.row(argb, first, new int[] {3, -1}, weights, rgb, 0),
            () -> Resize.row(argb, first, new int[] {3}, weights, rgb, 0),
            () -> Resize.row(argb, first, count, new int[7], rgb, 0),
            () -> Resize.row(argb, first, count, weights, rgb, 1),
            () -> Resize.row(argb, first, count, weights, rgb, -1),
            () -> Resize.row(argb, first, count, weights, null, 0),
            () -> Resize.columns(null, 3, first, count, weights, rgb),
            () -> Resize.columns(rows, 0, first, count, weights, rgb),
            () -> Resize.columns(rows, -3, first, count, weights, rgb),
            () -> Resize.columns(rows, 4, first, count, weights, rgb),
            () -> Resize.columns(rows, 3, new int[] {0, 4}, count, weights, rgb),
            () -> Resize.columns(rows, 3, first, count, weights, new byte[5]),
            () -> Resize.columns(rows, 3, first, count, weights, new byte[7]));
    }
}
