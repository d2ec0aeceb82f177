package mcad.desktop;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import mcad.engine.index.PhotoIndex;

/** Copies an index of the format before and converts the copy, again and again, and says which; a test kills it. */
final class ConvertForever {
    private ConvertForever() {}

    public static void main(String[] arguments) throws IOException {
        Path given = Paths.get(arguments[0]);
        for (int number = 0;; number++) {
            Path copy = Paths.get(arguments[1]).resolve(Integer.toString(number));
            Files.createDirectories(copy);
            try (DirectoryStream<Path> files = Files.newDirectoryStream(given)) {
                for (Path file : files) {
                    Files.copy(file, copy.resolve(file.getFileName()));
                }
            }
            System.out.println(number);
            System.out.flush();
            try (PhotoIndex index = PhotoIndex.open(copy)) {
                index.convert();
            }
        }
    }
}
