package org.json;

public class JSONTokener {
    public JSONTokener(String in) {}
    public native Object nextValue() throws JSONException;
    public native char nextClean() throws JSONException;
}
