package android.widget;

public abstract class AbsListView extends android.widget.AdapterView<ListAdapter> {}
