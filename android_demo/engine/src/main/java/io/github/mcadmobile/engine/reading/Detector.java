package io.github.mcadmobile.engine.reading;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.photos.Resize;
import io.github.mcadmobile.engine.photos.Resize.Rgb;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Finds lines of text in a photo: first in little detail, then in more where there is some. As
 * mcad_mobile/engine/reading/detector.py, which says why.
 */
public final class Detector {
    private static final int MOST_LINES = 400;
    private static final int TILE = Bundle.DETECTOR_SIDE;
    private static final int STEP = 32;
    private static final int MARGIN = 32;
    private static final double GLANCE = 480 * 480;
    private static final double MOST_PIXELS = 1 << 22;
    private static final double MOST_SIDE = 1 << 14;
    private static final int FINER = 2;
    private static final int LEVELS = 4;
    private static final int SMALL = 13;
    private static final int CORNERS = 8;
    private static final int NUMBERS = 9;

    private final PixelTower tower;
    private final boolean fixed;

    /** {@code fixed}: the tower takes no other shape than the bundle's. */
    public Detector(PixelTower tower, boolean fixed) {
        this.tower = tower;
        this.fixed = fixed;
    }

    /** The lines of a photo: x and y of four corners in pixels, clockwise from the upper left. */
    List<float[]> find(Rgb photo) throws IOException {
        double[] scales = scales(photo.width(), photo.height());
        List<float[]> kept = new ArrayList<>();
        List<float[]> wanted = List.of(new float[] {
            0, 0, photo.width(), 0, photo.width(), photo.height(), 0, photo.height()});
        for (int level = 0; level < scales.length && !wanted.isEmpty(); level++) {
            List<float[]> large = new ArrayList<>();
            List<float[]> small = new ArrayList<>();
            for (float[] box : boxes(photo, scales[level], wanted)) {
                if (!isInside(box, kept)) {
                    boolean isSmall = shortSide(box) * scales[level] < SMALL && level + 1 < scales.length;
                    (isSmall ? small : large).add(box);
                }
            }
            kept.addAll(large);
            wanted = small;
        }
        return kept.subList(0, Math.min(kept.size(), MOST_LINES));
    }

    /** The scales of the maps, ascending. */
    private double[] scales(double width, double height) {
        double most = Math.min(1, Math.min(Math.sqrt(MOST_PIXELS / (width * height)), MOST_SIDE / Math.max(width, height)));
        double glance = fixed ? TILE / Math.max(width, height) : Math.sqrt(GLANCE / (width * height));
        List<Double> scales = new ArrayList<>(List.of(Math.min(glance, most)));
        while (scales.size() < LEVELS && scales.get(scales.size() - 1) < most / 1.25) {
            scales.add(Math.min(FINER * scales.get(scales.size() - 1), most));
        }
        return scales.stream().mapToDouble(Double::doubleValue).toArray();
    }

    /** The boxes in a map of the photo, of tiles with a {@code wanted} box alone. */
    private List<float[]> boxes(Rgb photo, double scale, List<float[]> wanted) throws IOException {
        int width = (int) Math.max(Math.rint(photo.width() * scale), 1);
        int height = (int) Math.max(Math.rint(photo.height() * scale), 1);
        Rgb image = Resize.resize(photo, width, height, Resize.Filter.BILINEAR);
        ByteBuffer map = ByteBuffer.allocateDirect(4 * width * height).order(ByteOrder.nativeOrder());
        FloatBuffer probabilities = map.asFloatBuffer();
        for (int[] rows : tiles(height)) {
            for (int[] columns : tiles(width)) {
                if (wanted.stream().noneMatch(box -> reaches(box, scale, columns, rows))) {
                    continue;
                }
                int across = fixed ? TILE : (columns[1] - columns[0] + STEP - 1) / STEP * STEP;
                int down = fixed ? TILE : (rows[1] - rows[0] + STEP - 1) / STEP * STEP;
                float[] found = tower.run(pixels(image, columns, rows, across, down), down, across);
                int left = columns[0] == 0 ? 0 : columns[0] + MARGIN;
                int right = columns[1] == width ? width : columns[1] - MARGIN;
                int bottom = rows[1] == height ? height : rows[1] - MARGIN;
                for (int y = rows[0] == 0 ? 0 : rows[0] + MARGIN; y < bottom; y++) {
                    probabilities.position(y * width + left);
                    probabilities.put(found, (y - rows[0]) * across + left - columns[0], right - left);
                }
            }
        }
        float[] numbers = new float[NUMBERS * MOST_LINES];
        int count = boxes(map, width, height, numbers);
        List<float[]> boxes = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            float[] box = new float[CORNERS];
            for (int at = 0; at < CORNERS; at++) {
                box[at] = (float) (Math.min(Math.max(numbers[NUMBERS * i + at], 0), at % 2 == 0 ? width : height) / scale);
            }
            boxes.add(box);
        }
        return boxes;
    }

    /**
     * Find boxes in a map [height, width] of float32: see boxes.c. Writes of each x and y of its corners, clockwise from
     * the upper left, and its score to {@code boxes} [most, 9]; returns how many.
     */
    static native int boxes(ByteBuffer map, int width, int height, float[] boxes);

    /** Whether a box, or what is around it, lies in a tile. */
    private static boolean reaches(float[] box, double scale, int[] columns, int[] rows) {
        float around = shortSide(box);
        double[] low = {Double.MAX_VALUE, Double.MAX_VALUE};
        double[] high = {-Double.MAX_VALUE, -Double.MAX_VALUE};
        for (int at = 0; at < CORNERS; at++) {
            low[at % 2] = Math.min(low[at % 2], (box[at] - around) * scale);
            high[at % 2] = Math.max(high[at % 2], (box[at] + around) * scale);
        }
        return low[0] < columns[1] && high[0] > columns[0] && low[1] < rows[1] && high[1] > rows[0];
    }

    /** A tile's pixels [3, down, across], filled up by its last row and column. */
    private static float[] pixels(Rgb image, int[] columns, int[] rows, int across, int down) {
        float[] pixels = new float[3 * down * across];
        for (int y = 0; y < down; y++) {
            int row = Math.min(rows[0] + y, rows[1] - 1) * image.width();
            for (int x = 0; x < across; x++) {
                int from = 3 * (row + Math.min(columns[0] + x, columns[1] - 1));
                for (int channel = 0; channel < 3; channel++) {
                    pixels[(channel * down + y) * across + x] = real(image.bytes()[from + channel]);
                }
            }
        }
        return pixels;
    }

    /** A byte of a pixel as towers take it. */
    static float real(byte value) {
        return (value & 0xFF) / 127.5f - 1;
    }

    /** The ends of tiles, none larger than it must be, that cover a side and overlap by two margins or more. */
    private static List<int[]> tiles(int side) {
        int count = Math.max((int) Math.ceil((side - 2 * MARGIN) / (double) (TILE - 2 * MARGIN)), 1);
        int tile = (int) Math.ceil((side + (count - 1) * 2 * MARGIN) / (double) count / STEP) * STEP;
        int last = Math.max(side - tile, 0);
        List<int[]> tiles = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int start = i == count - 1 ? last : (int) (i * ((double) last / (count - 1)));
            tiles.add(new int[] {start, Math.min(start + tile, side)});
        }
        return tiles;
    }

    /** The length of the side of a box between its first corner and another one. */
    static double side(float[] box, int corner) {
        return Math.hypot(box[2 * corner] - box[0], box[2 * corner + 1] - box[1]);
    }

    private static float shortSide(float[] box) {
        return (float) Math.min(side(box, 1), side(box, 3));
    }

    /** Whether a box's middle lies well inside one of others: not where it may reach into the line above or below. */
    private static boolean isInside(float[] box, List<float[]> others) {
        double x = (box[0] + box[2] + box[4] + box[6]) / 4.0;
        double y = (box[1] + box[3] + box[5] + box[7]) / 4.0;
        for (float[] other : others) {
            boolean inside = true;
            for (int corner = 1; corner <= 3; corner += 2) {
                double side = side(other, corner);
                double along = ((x - other[0]) * (other[2 * corner] - other[0])
                    + (y - other[1]) * (other[2 * corner + 1] - other[1])) / side;
                inside &= Math.abs(along - side / 2) <= side / 2 - shortSide(other) / 4;
            }
            if (inside) {
                return true;
            }
        }
        return false;
    }
}
