package org.json;

import java.util.Iterator;
import mcad.stubs.Unset;

public class JSONObject {
    public static final Object NULL = Unset.object();
    public static native Object wrap(Object value);
    public native Iterator<String> keys();
    public native Object opt(String name);
}
