package hsmgate;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** Runs a program of examples/java, which is compiled with the client of the test, in a JVM of its own. */
public final class Example {
    private Example() {}

    /** What a class prints, run in a directory with these variables. */
    public static String output(Path directory, Map<String, String> variables, String... classAndArguments)
            throws Exception {
        Path output = directory.resolve("output");
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m", "-XX:+UseSerialGC", "-cp", classPath()));
        command.addAll(List.of(classAndArguments));
        ProcessBuilder builder = new ProcessBuilder(command).directory(directory.toFile())
                .redirectOutput(output.toFile()).redirectError(directory.resolve("log").toFile());
        builder.environment().putAll(variables);
        Process example = builder.start();
        Steps.holds(example.waitFor(2, TimeUnit.MINUTES), "it does not end");
        Steps.holds(example.exitValue() == 0, Files.readString(directory.resolve("log")));
        return Files.readString(output);
    }

    /** The class path of this program, for one that runs in another directory. */
    private static String classPath() {
        String separator = System.getProperty("path.separator");
        return Arrays.stream(System.getProperty("java.class.path").split(separator))
                .map(entry -> Path.of(entry).toAbsolutePath().toString()).collect(Collectors.joining(separator));
    }
}
