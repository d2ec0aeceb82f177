package org.json;

import java.util.Iterator;
import mcad.stubs.Unset;

public class JSONObject {
    public static final Object NULL = Unset.object();
    public JSONObject() {}
    public native Object get(String name) throws JSONException;
    public native Iterator<String> keys();
    public native JSONObject put(String name, Object value) throws JSONException;
}
