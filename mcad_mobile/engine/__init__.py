"""What a phone does, in Python without torch. android_demo/engine has the same packages."""
