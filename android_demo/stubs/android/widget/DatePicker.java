package android.widget;

public class DatePicker extends android.view.View {}
