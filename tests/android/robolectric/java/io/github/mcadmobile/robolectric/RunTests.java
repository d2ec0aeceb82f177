package io.github.mcadmobile.robolectric;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs JUnit classes by their names, and writes how many tests ran and, behind form feeds, what failed. */
public final class RunTests extends RunListener {
    private static final int MOST_LINES = 14;

    private final List<String> failures = new ArrayList<>();
    private long started;

    @Override
    public void testStarted(Description test) {
        started = System.nanoTime();
    }

    @Override
    public void testFinished(Description test) {
        System.out.printf("%s: %d ms%n", test.getDisplayName(), (System.nanoTime() - started) / 1_000_000);
    }

    @Override
    public void testFailure(Failure failure) {
        StringBuilder text = new StringBuilder(failure.getTestHeader());
        for (Throwable error = failure.getException(); error != null; error = error.getCause()) {
            text.append("\n  ").append(error);
            int lines = 0;
            for (StackTraceElement frame : error.getStackTrace()) {
                String name = frame.getClassName();
                boolean ours = name.startsWith("io.github.mcadmobile.") && !name.equals(RunTests.class.getName());
                if (lines < MOST_LINES && (ours || lines < 4)) {
                    text.append("\n    at ").append(frame);
                    lines++;
                }
            }
        }
        failures.add(text.toString());
    }

    /** Each argument is a class, or CLASS#METHOD. */
    public static void main(String[] names) throws IOException, ClassNotFoundException {
        JUnitCore core = new JUnitCore();
        RunTests listener = new RunTests();
        core.addListener(listener);
        int ran = 0;
        for (String name : names) {
            String[] parts = name.split("#");
            Class<?> test = Class.forName(parts[0]);
            Request request = parts.length == 1 ? Request.aClass(test) : Request.method(test, parts[1]);
            ran += core.run(request).getRunCount();
        }
        listener.failures.add(0, Integer.toString(ran));
        Files.writeString(Path.of(System.getProperty("mcad.report")), String.join("\f", listener.failures));
        System.exit(0); // threads of the app are no daemons
    }
}
