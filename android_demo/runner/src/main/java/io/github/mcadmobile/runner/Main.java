package io.github.mcadmobile.runner;

import ai.onnxruntime.OrtEnvironment;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Measures a bundle on this device, without an app:
 * {@code CLASSPATH=runner.jar app_process / io.github.mcadmobile.runner.Main SPEC}.
 *
 * <p>Reads a spec (schema mcad-run/1), prints one JSON document on standard output and steps on standard error. Exit
 * code 1 and {"error": {"what", "hint"}} for an expected error, another code for a crash.
 */
public final class Main {
    static final String SCHEMA = "mcad-run/1";
    static final String VERSION = "0.1.0";
    static final String SAME_RELEASE = "Use a runner and an mcad-mobile of the same version.";

    private Main() {}

    public static void main(String[] arguments) {
        PrintStream out = standardOutput();
        int code = 0;
        Object document;
        try {
            document = run(arguments);
        } catch (McadException error) {
            document = JsonFields.of("error", JsonFields.of("what", error.message, "hint", error.hint));
            code = 1;
        } catch (IOException | RuntimeException | Error error) {
            error.printStackTrace();
            System.exit(3);
            return;
        }
        out.println(JsonFields.write(document));
        out.flush();
        // Exit explicitly: app_process would wait for framework threads that never end.
        System.exit(code);
    }

    private static Object run(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            throw new McadException("One argument is needed, the path of a spec; " + arguments.length + " were given.",
                "Run it through: mcad-mobile bench --device adb.");
        }
        String text = new String(Files.readAllBytes(Paths.get(arguments[0])), StandardCharsets.UTF_8);
        JsonFields spec = JsonFields.parse(text, arguments[0], "Run it through: mcad-mobile bench --device adb.");
        if (!spec.string("schema").equals(SCHEMA)) {
            throw new McadException("The spec has schema '" + spec.string("schema") + "'; this runner reads '" + SCHEMA
                + "'.", SAME_RELEASE);
        }
        Map<String, Object> document;
        switch (spec.string("mode")) {
            case "check":
                document = new Check(spec).run();
                break;
            case "search":
                document = new Search(spec).run();
                break;
            case "index":
                document = new Index(spec).run();
                break;
            default:
                throw new McadException("The mode '" + spec.string("mode") + "' is not check, search or index.",
                    SAME_RELEASE);
        }
        document.put("pinned_cores", allowedCores());
        document.put("tools", JsonFields.of("runner", VERSION, "onnxruntime", onnxRuntime(), "java",
            System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version")));
        return document;
    }

    /** The folders of java.library.path, which may hold an NPU's libraries. */
    static List<File> libraries() {
        List<File> folders = new ArrayList<>();
        String path = System.getProperty("java.library.path");
        for (String folder : path == null ? new String[0] : path.split(File.pathSeparator)) {
            folders.add(new File(folder));
        }
        return folders;
    }

    /** Reserve standard output for the document; all other output goes to standard error. */
    private static PrintStream standardOutput() {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true);
        System.setOut(System.err);
        return out;
    }

    private static String onnxRuntime() {
        return OrtEnvironment.getEnvironment().getVersion();
    }

    /** The cores that this process may run on, from the kernel's "0-3,7". */
    private static List<Integer> allowedCores() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/status"), StandardCharsets.UTF_8)) {
            if (line.startsWith("Cpus_allowed_list:")) {
                return cores(line.substring(line.indexOf(':') + 1).trim());
            }
        }
        return new ArrayList<>();
    }

    static List<Integer> cores(String list) {
        List<Integer> cores = new ArrayList<>();
        for (String range : list.split(",")) {
            String[] ends = range.trim().split("-");
            int last = Integer.parseInt(ends[ends.length - 1]);
            for (int core = Integer.parseInt(ends[0]); core <= last; core++) {
                cores.add(core);
            }
        }
        return cores;
    }
}
