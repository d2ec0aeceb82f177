package org.json;

import io.github.mcadmobile.stubs.Unset;
import java.util.Iterator;

public class JSONObject {
    public static final Object NULL = Unset.object();
    public static native Object wrap(Object value);
    public native Iterator<String> keys();
    public native Object opt(String name);
}
