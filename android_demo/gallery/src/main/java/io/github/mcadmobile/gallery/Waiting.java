package io.github.mcadmobile.gallery;

/**
 * Why new and deleted photos are not indexed now: the user paused or stopped indexing, wants it only while charging, or
 * the phone saves power.
 */
public enum Waiting { NO, PAUSED, STOPPED, CHARGER, POWER_SAVER }
