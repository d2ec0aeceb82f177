package android.graphics;

public class BitmapFactory {
    public static native Bitmap decodeStream(java.io.InputStream in, Rect padding, Options options);

    public static class Options {
        public Options() {}
        public boolean inJustDecodeBounds;
        public boolean inPremultiplied;
        public Bitmap.Config inPreferredConfig;
        public ColorSpace inPreferredColorSpace;
        public int inSampleSize;
        public int outWidth;
        public int outHeight;
        public String outMimeType;
    }
}
