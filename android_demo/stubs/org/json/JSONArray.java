package org.json;

public class JSONArray {
    public JSONArray() {}
    public native Object get(int index) throws JSONException;
    public native int length();
    public native JSONArray put(Object value);
}
