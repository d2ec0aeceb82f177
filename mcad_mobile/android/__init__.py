"""The Android app, library and headless runner, built without an Android SDK."""
