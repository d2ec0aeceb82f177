package io.github.mcadmobile.demo;

import android.text.Editable;
import android.text.TextWatcher;
import java.util.function.Consumer;

/** Passes on the text of a field after each change. */
record AfterTyping(Consumer<String> typed) implements TextWatcher {
    @Override
    public void beforeTextChanged(CharSequence text, int start, int count, int after) {}

    @Override
    public void onTextChanged(CharSequence text, int start, int before, int count) {}

    @Override
    public void afterTextChanged(Editable text) {
        typed.accept(text.toString());
    }
}
