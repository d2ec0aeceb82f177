package android.view;

public class ViewPropertyAnimator {
    public native ViewPropertyAnimator translationX(float x);
    public native ViewPropertyAnimator alpha(float alpha);
}
