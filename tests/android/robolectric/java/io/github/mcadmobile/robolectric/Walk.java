package io.github.mcadmobile.robolectric;

import android.text.Layout;
import android.view.View;
import android.view.ViewGroup;
import android.view.ViewParent;
import android.widget.ImageView;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.robolectric.util.ReflectionHelpers;

/** Looks at all that a window shows: whether a screen reader has words for it, and whether its own words fit. */
public final class Walk {
    /** Guidelines ask for 48; Android's own buttons, menus and calendar have 35 to 48. */
    private static final int LEAST_DP = 35;

    private Walk() {}

    /** What is wrong with a view and all in it; a line for each fault. */
    public static List<String> faults(View root) {
        List<String> faults = new ArrayList<>();
        collect(root, false, faults);
        return faults;
    }

    /** What a screen reader says of a view: its description, else its text, else those of what is in it. */
    public static String spoken(View view) {
        if (view.getContentDescription() != null) {
            return view.getContentDescription().toString();
        }
        if (view instanceof TextView text) {
            return (text.getText().length() > 0 || text.getHint() == null ? text.getText() : text.getHint()).toString();
        }
        StringBuilder all = new StringBuilder();
        for (int i = 0; view instanceof ViewGroup group && i < group.getChildCount(); i++) {
            all.append(spoken(group.getChildAt(i))).append(' ');
        }
        return all.toString().trim();
    }

    private static void collect(View view, boolean described, List<String> faults) {
        if (view.getVisibility() != View.VISIBLE) {
            return;
        }
        String spoken = spoken(view);
        boolean control = view.isClickable() || view.isLongClickable();
        boolean picture = view instanceof ImageView;
        if ((control || picture) && spoken.isEmpty() && !described
                && view.getImportantForAccessibility() != View.IMPORTANT_FOR_ACCESSIBILITY_NO) {
            faults.add(name(view) + " has no words");
        }
        boolean read = control || !(view instanceof ViewGroup) || view.getContentDescription() != null;
        if (read && !name(view).endsWith(" value") && !speakable(spoken)) {
            faults.add(name(view) + " says: " + spoken);
        }
        float density = view.getResources().getDisplayMetrics().density;
        boolean touched = control && !(view instanceof TextView text && text.isTextSelectable());
        if (touched && view.isEnabled() && view.getHeight() < LEAST_DP * density) {
            faults.add(name(view) + " is " + view.getHeight() / density + " dp high");
        }
        if (view instanceof TextView text) {
            fits(text, faults);
        }
        for (int i = 0; view instanceof ViewGroup group && i < group.getChildCount(); i++) {
            collect(group.getChildAt(i), described || view.getContentDescription() != null || control && !spoken.isEmpty(), faults);
        }
    }

    /** No path, no file name, no percentage: a cosine is none. */
    private static boolean speakable(String words) {
        String text = words.toLowerCase(Locale.ROOT);
        return !text.contains("content:") && !text.contains("%") && !text.contains("null")
            && !text.matches("(?s).*\\.(jpe?g|png|webp|heic)\\b.*");
    }

    private static void fits(TextView view, List<String> faults) {
        boolean hints = view.getText().length() == 0;
        Layout lines = hints ? ReflectionHelpers.getField(view, "mHintLayout") : view.getLayout();
        if (lines == null || lines.getText().length() == 0) {
            return;
        }
        String text = lines.getText().toString();
        int room = view.getHeight() - view.getCompoundPaddingTop() - view.getCompoundPaddingBottom();
        if (lines.getHeight() > room + 1) {
            faults.add(name(view) + " is cut: " + text);
        }
        for (int line = 0; line < lines.getLineCount(); line++) {
            int end = lines.getLineEnd(line);
            if (hints && lines.getLineMax(line) > view.getWidth() - view.getCompoundPaddingLeft() - view.getCompoundPaddingRight() + 1) {
                faults.add(name(view) + " is cut: " + text);
            }
            // A screen reader has a tile's line whole.
            if (lines.getEllipsisCount(line) > 0 && !name(view).endsWith(" matched")) {
                faults.add(name(view) + " is shortened: " + text);
            }
            // Without a phone's date patterns, the date of Android's picker has no spaces: "MonNov2".
            if (end < text.length() && Character.isLetter(text.charAt(end - 1)) && Character.isLetter(text.charAt(end))
                    && !isOf(view, "DatePicker")) {
                faults.add(name(view) + " breaks a word: " + text.substring(0, end) + "|" + text.substring(end));
            }
        }
    }

    /** Whether a view is within one of a class of Android's. */
    private static boolean isOf(View view, String android) {
        ViewParent parent = view.getParent();
        while (parent instanceof View && !parent.getClass().getSimpleName().equals(android)) {
            parent = parent.getParent();
        }
        return parent instanceof View;
    }

    private static String name(View view) {
        String id = view.getId() == View.NO_ID ? "" : " " + view.getResources().getResourceEntryName(view.getId());
        return view.getClass().getSimpleName() + id;
    }
}
