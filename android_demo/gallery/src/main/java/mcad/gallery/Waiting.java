package mcad.gallery;

/**
 * Why photos that come and go are not indexed now: the user paused it for a while, or stopped it; the phone does not
 * charge, and the user wants that; or it saves power.
 */
public enum Waiting { NO, PAUSED, STOPPED, CHARGER, POWER_SAVER }
