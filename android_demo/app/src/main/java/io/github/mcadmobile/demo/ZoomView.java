package io.github.mcadmobile.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Matrix;
import android.graphics.Paint;
import android.graphics.Path;
import android.graphics.RectF;
import android.os.Bundle;
import android.util.AttributeSet;
import android.view.GestureDetector;
import android.view.KeyEvent;
import android.view.MotionEvent;
import android.view.ScaleGestureDetector;
import android.view.accessibility.AccessibilityNodeInfo;
import android.widget.ImageView;
import java.util.List;
import java.util.function.IntConsumer;

/** Shows a photo: pinch or double tap to zoom, swipe for its neighbours; arrow keys and screen readers work too. */
public final class ZoomView extends ImageView {
    private static final float MOST = 6;
    private static final float NEAR = 3;
    private static final float LINE_DP = 3;
    private static final float WHOLE = 10_000;
    /** A part is decoded once the fingers rest. */
    private static final long REST_MS = 100;

    /** Receives what is visible of a bitmap that is {@code shown} pixels wide, when these are larger than the screen's. */
    interface Zoomed {
        /** A part in fractions of the photo's sides, on {@code pixels} of the screen's width. */
        void at(RectF part, int pixels, int shown);
    }

    private final Matrix matrix = new Matrix();
    private final ScaleGestureDetector scaling;
    private final GestureDetector gestures;
    private IntConsumer step = by -> { };
    private Runnable tap = () -> { };
    private Zoomed zoomed = (part, pixels, shown) -> { };
    private final Runnable rested = this::ask;
    private final Paint smooth = new Paint(Paint.FILTER_BITMAP_FLAG);
    /** Drawn over the photo. */
    private Bitmap sharp;
    private final RectF sharpPart = new RectF();
    private final Paint ink = new Paint(Paint.ANTI_ALIAS_FLAG);
    private Bitmap photo;
    private List<int[]> boxes = List.of();
    /** 1: the whole photo is visible. */
    private float zoom = 1;
    private float left;
    private float top;

    public ZoomView(Context context, AttributeSet attributes) {
        super(context, attributes);
        setScaleType(ScaleType.MATRIX);
        setFocusable(true);
        ink.setStyle(Paint.Style.STROKE);
        ink.setStrokeWidth(LINE_DP * getResources().getDisplayMetrics().density);
        ink.setColor(context.getColor(R.color.mark));
        scaling = new ScaleGestureDetector(context, new ScaleGestureDetector.SimpleOnScaleGestureListener() {
            @Override
            public boolean onScale(ScaleGestureDetector fingers) {
                zoom(fingers.getScaleFactor(), fingers.getFocusX(), fingers.getFocusY());
                return true;
            }
        });
        gestures = new GestureDetector(context, new GestureDetector.SimpleOnGestureListener() {
            @Override
            public boolean onDown(MotionEvent event) {
                return true;
            }

            @Override
            public boolean onScroll(MotionEvent from, MotionEvent to, float x, float y) {
                place(left - x, top - y);
                return true;
            }

            @Override
            public boolean onFling(MotionEvent from, MotionEvent to, float x, float y) {
                if (zoom == 1 && Math.abs(x) > Math.abs(y)) {
                    stepTo(x < 0 ? 1 : -1);
                }
                return true;
            }

            @Override
            public boolean onSingleTapConfirmed(MotionEvent event) {
                tap.run();
                return true;
            }

            @Override
            public boolean onDoubleTap(MotionEvent event) {
                zoom(zoom > 1 ? 1 / zoom : NEAR, event.getX(), event.getY());
                return true;
            }
        });
    }

    /** {@code by} receives 1 for the next photo, -1 for the previous. */
    void onStep(IntConsumer by) {
        step = by;
    }

    void onTap(Runnable listener) {
        tap = listener;
    }

    void onZoom(Zoomed listener) {
        zoomed = listener;
    }

    /** Draw a part of the photo, decoded in more detail, over it. */
    void showPart(Bitmap bitmap, RectF part) {
        sharp = bitmap;
        sharpPart.set(part);
        invalidate();
    }

    /** With boxes around lines of text, in ten-thousandths of the photo's sides. */
    void show(Bitmap bitmap, List<int[]> lines) {
        photo = bitmap;
        boxes = lines;
        zoom = 1;
        sharp = null;
        setImageBitmap(bitmap);
        place(0, 0);
    }

    @Override
    protected void onDraw(Canvas canvas) {
        super.onDraw(canvas);
        if (sharp != null) {
            RectF at = new RectF(sharpPart.left * photo.getWidth(), sharpPart.top * photo.getHeight(),
                sharpPart.right * photo.getWidth(), sharpPart.bottom * photo.getHeight());
            matrix.mapRect(at);
            canvas.drawBitmap(sharp, null, at, smooth);
        }
        for (int[] box : photo == null ? List.<int[]>of() : boxes) {
            float[] at = new float[box.length];
            for (int i = 0; i < box.length; i++) {
                at[i] = box[i] * (i % 2 == 0 ? photo.getWidth() : photo.getHeight()) / WHOLE;
            }
            matrix.mapPoints(at);
            Path outline = new Path();
            outline.moveTo(at[0], at[1]);
            for (int i = 2; i < at.length; i += 2) {
                outline.lineTo(at[i], at[i + 1]);
            }
            outline.close();
            canvas.drawPath(outline, ink);
        }
    }

    float zoom() {
        return zoom;
    }

    /** Zoom by a factor, around a point of the screen. */
    private void zoom(float factor, float x, float y) {
        float before = zoom;
        zoom = Math.max(1, Math.min(MOST, zoom * factor));
        float real = zoom / before;
        place(x - (x - left) * real, y - (y - top) * real);
    }

    /** Move as near to a position as leaves no edge empty. */
    private void place(float x, float y) {
        removeCallbacks(rested);
        if (photo == null || getWidth() == 0) {
            return;
        }
        float fit = Math.min(getWidth() / (float) photo.getWidth(), getHeight() / (float) photo.getHeight());
        left = within(x, photo.getWidth() * fit * zoom, getWidth());
        top = within(y, photo.getHeight() * fit * zoom, getHeight());
        matrix.setScale(fit * zoom, fit * zoom);
        matrix.postTranslate(left, top);
        setImageMatrix(matrix);
        if (fit * zoom > 1) {
            postDelayed(rested, REST_MS);
        } else {
            sharp = null;
        }
    }

    private void ask() {
        RectF whole = new RectF(0, 0, photo.getWidth(), photo.getHeight());
        matrix.mapRect(whole);
        RectF part = new RectF(Math.max(0, -whole.left / whole.width()), Math.max(0, -whole.top / whole.height()),
            Math.min(1, (getWidth() - whole.left) / whole.width()), Math.min(1, (getHeight() - whole.top) / whole.height()));
        zoomed.at(part, Math.round(part.width() * whole.width()), photo.getWidth());
    }

    private static float within(float at, float size, float room) {
        return size <= room ? (room - size) / 2 : Math.max(room - size, Math.min(0, at));
    }

    private void stepTo(int right) {
        step.accept(getLayoutDirection() == LAYOUT_DIRECTION_RTL ? -right : right);
    }

    @Override
    protected void onSizeChanged(int width, int height, int widthBefore, int heightBefore) {
        super.onSizeChanged(width, height, widthBefore, heightBefore);
        place(left, top);
    }

    @Override
    public boolean onTouchEvent(MotionEvent event) {
        scaling.onTouchEvent(event);
        gestures.onTouchEvent(event);
        return true;
    }

    @Override
    public boolean onKeyDown(int key, KeyEvent event) {
        if (key == KeyEvent.KEYCODE_DPAD_LEFT || key == KeyEvent.KEYCODE_DPAD_RIGHT) {
            stepTo(key == KeyEvent.KEYCODE_DPAD_RIGHT ? 1 : -1);
            return true;
        }
        return super.onKeyDown(key, event);
    }

    @Override
    public void onInitializeAccessibilityNodeInfo(AccessibilityNodeInfo info) {
        super.onInitializeAccessibilityNodeInfo(info);
        info.setScrollable(true);
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_FORWARD);
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_BACKWARD);
    }

    @Override
    public boolean performAccessibilityAction(int action, Bundle arguments) {
        if (action == AccessibilityNodeInfo.ACTION_SCROLL_FORWARD || action == AccessibilityNodeInfo.ACTION_SCROLL_BACKWARD) {
            step.accept(action == AccessibilityNodeInfo.ACTION_SCROLL_FORWARD ? 1 : -1);
            return true;
        }
        return super.performAccessibilityAction(action, arguments);
    }
}
