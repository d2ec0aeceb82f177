package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.index.RowNumbers;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.CRC32;
import java.util.zip.CheckedInputStream;
import java.util.zip.CheckedOutputStream;

/**
 * The folder and date of each photo from the last listing, in a file beside the index, 20 bytes per photo. It is a
 * cache: if it is missing or torn, the photos are listed again.
 */
final class PhotoMetadata {
    private static final String NAME = "metadata.bin";
    private static final String HINT = "The app writes it again when it lists the phone's photos.";
    private static final int MAGIC = 0x4d434632; // MCF2
    private static final int BUFFER = 1 << 16;

    /** Hashed paths, ascending. */
    private final long[] keys;
    /** Twice the number of the folder, and one more for a video. */
    private final int[] folders;
    private final long[] taken;
    private final List<String> names;

    private PhotoMetadata(int photos, List<String> names) {
        keys = new long[photos];
        folders = new int[photos];
        taken = new long[photos];
        this.names = names;
    }

    static PhotoMetadata of(List<PhotoLibrary.Item> items) throws IOException {
        List<String> names = new ArrayList<>();
        Map<String, Integer> folderNumbers = new HashMap<>();
        PhotoMetadata metadata = new PhotoMetadata(items.size(), names);
        long[] listed = new long[items.size()];
        for (int i = 0; i < listed.length; i++) {
            listed[i] = RowNumbers.key(items.get(i).path());
        }
        System.arraycopy(listed, 0, metadata.keys, 0, listed.length);
        Arrays.sort(metadata.keys);
        for (int i = 0; i < listed.length; i++) {
            PhotoLibrary.Item item = items.get(i);
            int at = metadata.number(listed[i]);
            Integer folder = folderNumbers.get(item.folder());
            if (folder == null) {
                folder = names.size();
                folderNumbers.put(item.folder(), folder);
                names.add(item.folder());
            }
            metadata.folders[at] = 2 * folder + (item.isVideo() ? 1 : 0);
            metadata.taken[at] = item.takenMs();
        }
        return metadata;
    }

    /** A photo's number by the key of its path; -1 if it was not listed. */
    int number(long key) {
        return Math.max(-1, Arrays.binarySearch(keys, key));
    }

    boolean passes(int number, Filter filter, Folders chosen) {
        String folder = names.get(folders[number] >> 1);
        return chosen.takes(folder) && filter.passes(folder, taken[number], (folders[number] & 1) == 1);
    }

    /** The number of photos per folder name. */
    Map<String, Integer> folders() {
        int[] counts = new int[names.size()];
        for (int folder : folders) {
            counts[folder >> 1]++;
        }
        Map<String, Integer> all = new TreeMap<>();
        for (int i = 0; i < counts.length; i++) {
            all.put(names.get(i), counts[i]);
        }
        return all;
    }

    boolean isLike(PhotoMetadata other) {
        return Arrays.equals(keys, other.keys) && Arrays.equals(taken, other.taken)
            && Arrays.equals(folders, other.folders) && names.equals(other.names);
    }

    void save(Path directory) throws IOException {
        AtomicFile.write(directory.resolve(NAME), this::write);
    }

    private void write(OutputStream to) throws IOException {
        CRC32 crc = new CRC32();
        DataOutputStream out = new DataOutputStream(new CheckedOutputStream(new BufferedOutputStream(to, BUFFER), crc));
        out.writeInt(MAGIC);
        out.writeInt(keys.length);
        out.writeInt(names.size());
        for (String name : names) {
            out.writeUTF(name);
        }
        for (int i = 0; i < keys.length; i++) {
            out.writeLong(keys[i]);
            out.writeInt(folders[i]);
            out.writeLong(taken[i]);
        }
        out.writeLong(crc.getValue());
        out.flush();
    }

    static void delete(Path directory) throws IOException {
        Files.deleteIfExists(directory.resolve(NAME));
    }

    /** Read the file. IOException if it is missing or damaged. */
    static PhotoMetadata open(Path directory) throws IOException {
        CRC32 crc = new CRC32();
        Path file = directory.resolve(NAME);
        try (DataInputStream in = new DataInputStream(new CheckedInputStream(
                new BufferedInputStream(Files.newInputStream(file), BUFFER), crc))) {
            int magic = in.readInt();
            int photos = in.readInt();
            int folders = in.readInt();
            long size = Files.size(file);
            if (magic != MAGIC || photos < 0 || folders < 0 || photos > size / 20 || folders > size / 2) {
                throw new McadException(file + " is damaged: its header is wrong.", HINT);
            }
            List<String> names = new ArrayList<>();
            for (int i = 0; i < folders; i++) {
                names.add(in.readUTF());
            }
            PhotoMetadata metadata = new PhotoMetadata(photos, names);
            for (int i = 0; i < photos; i++) {
                metadata.keys[i] = in.readLong();
                metadata.folders[i] = in.readInt();
                metadata.taken[i] = in.readLong();
            }
            long expected = crc.getValue();
            if (in.readLong() != expected) {
                throw new McadException(file + " is damaged: its checksum is wrong.", HINT);
            }
            return metadata;
        }
    }
}
