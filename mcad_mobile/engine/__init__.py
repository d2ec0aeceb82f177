"""What a phone does, in Python and never with torch. android_demo/engine has the same rooms."""
