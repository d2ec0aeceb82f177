package android.app;

public class DatePickerDialog extends AlertDialog {
    public DatePickerDialog(
        android.content.Context context, OnDateSetListener listener, int year, int month, int day) {}

    public interface OnDateSetListener {
        void onDateSet(android.widget.DatePicker picker, int year, int month, int day);
    }
}
