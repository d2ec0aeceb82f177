package org.json;

public class JSONArray {
    public native int length();
    public native Object opt(int index);
}
