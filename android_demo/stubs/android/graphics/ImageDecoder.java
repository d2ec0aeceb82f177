package android.graphics;

import io.github.mcadmobile.stubs.Unset;

public final class ImageDecoder {
    public static final int ALLOCATOR_SOFTWARE = Unset.number();
    public static native Source createSource(android.content.ContentResolver resolver, android.net.Uri uri);
    public static native Source createSource(java.nio.ByteBuffer data);
    public static native Bitmap decodeBitmap(Source source, OnHeaderDecodedListener listener) throws java.io.IOException;
    public native void setAllocator(int allocator);
    public native void setTargetColorSpace(ColorSpace space);
    public native void setUnpremultipliedRequired(boolean required);
    public native void setTargetSampleSize(int size);

    public abstract static class Source {}

    public static class ImageInfo {
        public native android.util.Size getSize();
    }

    public interface OnHeaderDecodedListener {
        void onHeaderDecoded(ImageDecoder decoder, ImageInfo info, Source source);
    }
}
