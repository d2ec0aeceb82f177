"""The Android app and the headless runner, built with no Android SDK."""
