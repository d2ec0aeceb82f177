package io.github.mcadmobile.engine.reading;

import static io.github.mcadmobile.engine.reading.Recognizer.HEIGHT;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.Resize;
import io.github.mcadmobile.engine.photos.Resize.Rgb;
import io.github.mcadmobile.engine.words.PhotoWords.Line;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** Reads the text in photos. As mcad_mobile/engine/reading/reader.py. */
public final class Reader {
    /** What to decode photos with: 12 megapixels of a JPEG are halved. */
    public static final int AT_LEAST = 750;
    /** Of a photo in memory; a screenshot has fewer. */
    private static final double MOST_PIXELS = 6e6;
    private static final double LEAST = 0.8;
    private static final double LEAST_OF_SHORT = 0.9;
    private static final int SHORT = 4;
    private static final double TALL = 1.5;
    private static final double SCALE = 10_000;

    private final Detector detector;
    private final Recognizer recognizer;

    public Reader(Detector detector, Recognizer recognizer) {
        this.detector = detector;
        this.recognizer = recognizer;
    }

    /** The lines of an upright photo in the order in which they are read, without those that are probably none. */
    public List<Line> read(Rgb image) throws IOException {
        int[][] usual = {{0, 2}, {1, 3}}; // quarters of a turn of lines, as lines lie
        List<Line> lines = new ArrayList<>();
        for (float[] corners : detector.find(image)) {
            double width = Detector.side(corners, 1);
            double height = Detector.side(corners, 3);
            if (Math.min(width, height) < 1) {
                continue;
            }
            int tall = height > TALL * width ? 1 : 0;
            Recognizer.Text best = new Recognizer.Text("", 0);
            float[] box = corners;
            for (int turn : usual[tall]) {
                float[] turned = new float[corners.length];
                for (int at = 0; at < turned.length; at++) {
                    turned[at] = corners[(at + 2 * turn) % turned.length];
                }
                Recognizer.Text text = recognizer.read(cut(image, turned));
                if (text.confidence() > best.confidence()) {
                    best = text;
                    box = turned;
                }
                if (isSure(best)) {
                    usual[tall] = new int[] {turn, (turn + 2) % 4}; // the photo's other lines probably, too
                    lines.add(new Line(best.text().strip(), inPhoto(box, image)));
                    break;
                }
            }
        }
        return inOrder(lines);
    }

    /** A photo as it is read: upright, and not too large for memory. */
    public static Rgb upright(Photo photo) throws McadException {
        double scale = Math.min(1, Math.sqrt(MOST_PIXELS / photo.width() / photo.height()));
        int width = (int) Math.max(photo.width() * scale, 1);
        int height = (int) Math.max(photo.height() * scale, 1);
        return Resize.resize(photo, width, height, Resize.Filter.BILINEAR).upright(photo.orientation());
    }

    /** On textures, the recognizer sees characters of lower confidence; and sees short words more often. */
    private static boolean isSure(Recognizer.Text read) {
        long characters = read.text().codePoints().filter(Reader::isLetterOrNumber).count();
        return characters > 0 && read.confidence() >= (characters >= SHORT ? LEAST : LEAST_OF_SHORT);
    }

    private static boolean isLetterOrNumber(int character) {
        int type = Character.getType(character);
        return Character.isLetterOrDigit(character) || type == Character.LETTER_NUMBER || type == Character.OTHER_NUMBER;
    }

    /** Corners in ten-thousandths of the photo's sides. */
    private static List<Integer> inPhoto(float[] corners, Rgb photo) {
        List<Integer> box = new ArrayList<>();
        for (int at = 0; at < corners.length; at++) {
            box.add((int) Math.rint(corners[at] / (double) (at % 2 == 0 ? photo.width() : photo.height()) * SCALE));
        }
        return box;
    }

    /** Cut out a line of {@link Recognizer#HEIGHT} rows whose corners go clockwise from the start of the text. */
    private static Rgb cut(Rgb photo, float[] corners) {
        double width = Detector.side(corners, 1);
        double height = Detector.side(corners, 3);
        int wide = (int) Math.max(16, Math.min(Math.rint(HEIGHT * width / height), Recognizer.MOST_WIDTH));
        int factor = Math.max((int) (height / HEIGHT), 1);
        double[] low = {corners[0], corners[1]};
        double[] high = {corners[0], corners[1]};
        for (int at = 0; at < corners.length; at++) {
            low[at % 2] = Math.min(low[at % 2], corners[at]);
            high[at % 2] = Math.max(high[at % 2], corners[at]);
        }
        int left = (int) low[0];
        int top = (int) low[1];
        Rgb part = reduced(photo, left, top, Math.max((int) Math.ceil(high[0]), left + 1),
            Math.max((int) Math.ceil(high[1]), top + 1), factor);
        byte[] line = new byte[3 * HEIGHT * wide];
        for (int y = 0; y < HEIGHT; y++) {
            double down = (y + 0.5) / HEIGHT;
            for (int x = 0; x < wide; x++) {
                double along = (x + 0.5) / wide;
                sample(part,
                    (corners[0] - left + along * (corners[2] - corners[0]) + down * (corners[6] - corners[0])) / factor,
                    (corners[1] - top + along * (corners[3] - corners[1]) + down * (corners[7] - corners[1])) / factor,
                    line, 3 * (y * wide + x));
            }
        }
        return new Rgb(wide, HEIGHT, line);
    }

    /** A part of a photo in which each pixel is the mean of a square of {@code factor}, black beyond the photo. */
    private static Rgb reduced(Rgb photo, int left, int top, int right, int bottom, int factor) {
        int width = (right - left + factor - 1) / factor;
        int height = (bottom - top + factor - 1) / factor;
        byte[] means = new byte[3 * width * height];
        for (int y = 0; y < height; y++) {
            int fromY = top + y * factor;
            int untilY = Math.min(fromY + factor, bottom);
            for (int x = 0; x < width; x++) {
                int fromX = left + x * factor;
                int untilX = Math.min(fromX + factor, right);
                int count = (untilX - fromX) * (untilY - fromY);
                long share = (1 << 24) / count; // rounds as Pillow does
                for (int channel = 0; channel < 3; channel++) {
                    long sum = count / 2;
                    for (int v = fromY; v < Math.min(untilY, photo.height()); v++) {
                        for (int u = fromX; u < Math.min(untilX, photo.width()); u++) {
                            sum += photo.bytes()[3 * (v * photo.width() + u) + channel] & 0xFF;
                        }
                    }
                    means[3 * (y * width + x) + channel] = (byte) (sum * share >> 24);
                }
            }
        }
        return new Rgb(width, height, means);
    }

    /** Write the colour at a point, by the bicubic filter of Pillow's transforms; black beyond the picture. */
    private static void sample(Rgb picture, double x, double y, byte[] out, int at) {
        if (x < 0 || y < 0 || x >= picture.width() || y >= picture.height()) {
            return;
        }
        int column = (int) Math.floor(x - 0.5);
        int row = (int) Math.floor(y - 0.5);
        double[] values = new double[4];
        double[] rows = new double[4];
        for (int channel = 0; channel < 3; channel++) {
            for (int v = 0; v < 4; v++) {
                int from = Math.max(0, Math.min(row + v - 1, picture.height() - 1)) * picture.width();
                for (int u = 0; u < 4; u++) {
                    int pixel = from + Math.max(0, Math.min(column + u - 1, picture.width() - 1));
                    values[u] = picture.bytes()[3 * pixel + channel] & 0xFF;
                }
                rows[v] = cubic(values, x - 0.5 - column);
            }
            out[at + channel] = (byte) Math.max(0, Math.min(255, cubic(rows, y - 0.5 - row)));
        }
    }

    /** The value by {@code d} after the second of four, in Pillow's order of operations: bytes are cut, not rounded. */
    private static double cubic(double[] v, double d) {
        return v[1] + d * (v[2] - v[0] + d * (2 * (v[0] - v[1]) + v[2] - v[3] + d * (v[1] - v[0] - v[2] + v[3])));
    }

    /**
     * Sort lines as they are read: from top to bottom, and from left to right beside each other, where most of them stand
     * upright.
     */
    private static List<Line> inOrder(List<Line> lines) {
        double x = 0;
        double y = 0;
        for (Line line : lines) {
            x += line.box().get(2) - line.box().get(0);
            y += line.box().get(3) - line.box().get(1);
        }
        boolean across = Math.abs(x) >= Math.abs(y);
        double right = Math.signum(across ? x : y);
        Comparator<Line> byRow = Comparator.comparingDouble(line -> across ? right * middle(line, 1) : -right * middle(line, 0));
        Comparator<Line> byColumn = Comparator.comparingDouble(line -> right * middle(line, across ? 0 : 1));
        List<Line> sorted = new ArrayList<>(lines);
        sorted.sort(byRow);
        List<Line> ordered = new ArrayList<>();
        List<Line> row = new ArrayList<>();
        for (Line line : sorted) {
            int axis = across ? 1 : 0;
            if (!row.isEmpty() && Math.abs(middle(line, axis) - middle(row.get(0), axis)) >= extent(line, axis) / 2) {
                row.sort(byColumn);
                ordered.addAll(row);
                row.clear();
            }
            row.add(line);
        }
        row.sort(byColumn);
        ordered.addAll(row);
        return ordered;
    }

    private static double middle(Line line, int axis) {
        return (line.box().get(axis) + line.box().get(axis + 2) + line.box().get(axis + 4) + line.box().get(axis + 6)) / 4.0;
    }

    /** How far a line reaches along an axis. */
    private static double extent(Line line, int axis) {
        int low = Integer.MAX_VALUE;
        int high = Integer.MIN_VALUE;
        for (int at = axis; at < line.box().size(); at += 2) {
            low = Math.min(low, line.box().get(at));
            high = Math.max(high, line.box().get(at));
        }
        return high - low;
    }
}
