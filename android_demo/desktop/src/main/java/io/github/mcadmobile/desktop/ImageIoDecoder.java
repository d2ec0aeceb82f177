package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Exif;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.awt.color.ColorSpace;
import java.awt.image.BufferedImage;
import java.awt.image.DataBufferByte;
import java.awt.image.Raster;
import java.io.IOException;
import java.io.InputStream;
import javax.imageio.ImageIO;

/** Decodes the formats of javax.imageio (JPEG, PNG, GIF, BMP) at full size, for tests and the runner on a JVM. */
public final class ImageIoDecoder implements PhotoDecoder {
    private static final String AS_JPEG = "Save the photo as JPEG.";

    @Override
    public Photo decode(Source source, int atLeast) throws IOException {
        int orientation;
        try (InputStream in = source.open()) {
            orientation = Exif.orientation(in);
        }
        BufferedImage image;
        try (InputStream in = source.open()) {
            image = ImageIO.read(in);
        } catch (RuntimeException error) {
            throw new McadException("The photo cannot be decoded: " + error + ".", AS_JPEG, error);
        }
        if (image == null) {
            throw new McadException("This JVM cannot decode the photo's format.", AS_JPEG);
        }
        return new Decoded(image, orientation);
    }

    private record Decoded(BufferedImage image, int orientation) implements Photo {
        @Override
        public int width() {
            return image.getWidth();
        }

        @Override
        public int height() {
            return image.getHeight();
        }

        @Override
        public void readRow(int y, int[] argb) {
            if (image.getType() == BufferedImage.TYPE_3BYTE_BGR) { // getRGB takes ten times as long
                byte[] bgr = ((DataBufferByte) image.getRaster().getDataBuffer()).getData();
                for (int x = 0, at = 3 * y * width(); x < width(); x++, at += 3) {
                    argb[x] = 0xFF000000 | (bgr[at + 2] & 0xFF) << 16 | (bgr[at + 1] & 0xFF) << 8 | bgr[at] & 0xFF;
                }
                return;
            }
            boolean grey = image.getColorModel().getColorSpace().getType() == ColorSpace.TYPE_GRAY;
            if (!grey) {
                image.getRGB(0, y, width(), 1, argb, 0, width());
                return;
            }
            // getRGB takes grey samples as linear light and brightens them, but they are gamma-coded like all others.
            Raster raster = image.getRaster();
            boolean alpha = image.getColorModel().hasAlpha();
            int shift = raster.getSampleModel().getSampleSize(0) - 8;
            for (int x = 0; x < width(); x++) {
                int value = byteOf(raster.getSample(x, y, 0), shift);
                int opacity = alpha ? byteOf(raster.getSample(x, y, 1), shift) : 255;
                argb[x] = opacity << 24 | value << 16 | value << 8 | value;
            }
        }

        private static int byteOf(int sample, int shift) {
            return shift >= 0 ? sample >> shift : sample * 255 / ((1 << 8 + shift) - 1);
        }
    }
}
