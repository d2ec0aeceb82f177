package org.json;

public class JSONTokener {
    public JSONTokener(String in) {}
    public native Object nextValue() throws JSONException;
}
