"""The bundle: a folder with bundle.json and every file that a phone needs to search."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, structs
from numpy.typing import NDArray

from mcad_mobile.base.documents import (
    Bytes,
    Count,
    Positive,
    Record,
    Sha256,
    Size,
    Word,
    decode,
    folder_kind,
)
from mcad_mobile.base.files import (
    check_movable,
    read_regular,
    real_path,
    restore,
    sha256_of,
    write_atomically,
)
from mcad_mobile.base.licences import UNKNOWN
from mcad_mobile.engine.arrays import read_array
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.tokenizer import TokenizerSpec
from mcad_mobile.errors import BundleError, ExportError, Remedy

SCHEMA = "mcad-bundle/1"
MANIFEST = "bundle.json"
_MOST_MANIFEST_BYTES = 1 << 24  # exports write up to 100 KB
TOWERS: tuple[TowerName, ...] = ("image", "text")
TowerName = Literal["image", "text", "multilingual", "detector", "recognizer"]
Precision = Literal["fp32", "int8", "mixed", "w8a8", "w8a16", "w4a16"]

# Remedies for when something else was given in place of a bundle.
_INSTEAD = {
    "a photo index": Remedy.GIVE_BUNDLE_OF_INDEX,
    "a folder of shards": Remedy.GIVE_BUNDLE_OF_SHARDS,
    "a student": Remedy.EXPORT_STUDENT,
    "a file": Remedy.GIVE_EXPORTED_FOLDER,
}

LEAST_PARITY = 0.95

# The reader's towers take RGB pixels from -1 to 1 in these shapes, NCHW; lines are filled up with 0
# on the right. ONNX rungs take others, too: sides and widths in whole steps.
DETECTOR_SHAPE = (1, 3, 640, 640)
DETECTOR_STEP = 32
RECOGNIZER_SHAPE = (1, 3, 48, 320)
RECOGNIZER_STEP = 8  # pixels for each of its outputs
READER_SHAPES: dict[TowerName, tuple[int, ...]] = {
    "detector": DETECTOR_SHAPE,
    "recognizer": RECOGNIZER_SHAPE,
}

Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]
Dim = Annotated[int, Meta(ge=1, le=2**16)]


class FileRecord(Record, frozen=True):
    """A file of the bundle; `path` is relative to it, with slashes."""

    path: Word
    sha256: Sha256
    bytes: Bytes

    @staticmethod
    def of(bundle: Path, path: Path) -> FileRecord:
        return FileRecord(
            path=path.relative_to(bundle).as_posix(),
            sha256=sha256_of(path),
            bytes=path.stat().st_size,
        )


class TensorSpec(Record, frozen=True):
    """A tower's input or output. Integers stand for real = scale * (stored - zero_point). The text
    tower's ONNX model for CPUs accepts any number of tokens up to its shape's."""

    name: Word
    dtype: Word
    shape: tuple[Size, ...]
    layout: str
    scale: Positive | None = None
    zero_point: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None


class Parity(Record, frozen=True):
    """Cosine of exported to float-student embeddings of `inputs` real inputs."""

    inputs: Size
    cosine_mean: Cosine
    cosine_min: Cosine

    @property
    def is_low(self) -> bool:
        """Whether a rung with this parity is only written when low parity is allowed."""
        return self.cosine_mean < LEAST_PARITY


class Rung(Record, frozen=True):
    """A way to run a tower; of `total_nodes`, the NPU gets `npu_nodes`; `notes` says what was left
    out and how to get it. `chip`: the one that it is compiled for, in a bundle of several."""

    runtime: Word
    precision: Word
    files: Annotated[tuple[FileRecord, ...], Meta(min_length=1)]  # the first is opened
    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    total_nodes: Count
    # This rung's own embeddings of the golden inputs, [N, dim] float32 of unit length
    expected: FileRecord
    npu_nodes: Count = 0
    parity: Parity | None = None  # what quantization cost
    notes: tuple[str, ...] = ()
    chip: TargetFacts | UnsetType = UNSET

    @property
    def name(self) -> str:
        on_chip = f" for {self.chip.chip}" if self.chip else ""
        return f"{self.runtime} {self.precision}{on_chip}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def low_parity(self) -> bool:
        return self.parity is not None and self.parity.is_low

    def facts(self) -> dict[str, Any]:
        """Return what an export and the benchmarks report about a rung whose parity was
        measured."""
        assert self.parity is not None
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "bytes": self.bytes,
            "npu_nodes": self.npu_nodes,
            "total_nodes": self.total_nodes,
            "cosine_mean": self.parity.cosine_mean,
            "cosine_min": self.parity.cosine_min,
            "inputs": self.parity.inputs,
            "notes": list(self.notes),
        }


class Golden(Record, frozen=True):
    """Real inputs by name, and the float student's embeddings of them, [N, dim] float32 of unit
    length; for text inputs also the `texts` and their token `ids` [N, L] int32."""

    inputs: Annotated[dict[str, FileRecord], Meta(min_length=1)]
    embeddings: FileRecord
    texts: tuple[str, ...] = ()
    ids: FileRecord | None = None


class TableRecord(Record, frozen=True):
    """The token table's file (engine/text/token_rows.py), with `bits` per number."""

    file: FileRecord
    tokens: Annotated[int, Meta(ge=1, le=2**24)]
    width: Annotated[int, Meta(ge=1, le=2**14)]
    bits: Literal[4, 16]

    def __post_init__(self) -> None:
        if self.width * self.bits % 8:
            raise ValueError(f"rows of {self.width} numbers of {self.bits} bits fill no bytes")


class StudentFacts(Record, frozen=True):
    """The towers' student. `sha256` identifies all that its embeddings depend on, `image_sha256`
    what photo embeddings depend on: bundles of the same `image_sha256` can search the same index.
    `licence` is that of the weights, `licence_text` a file with its text and the weights' NOTICE,
    if either is known."""

    name: Word
    sha256: Sha256
    image_sha256: Sha256
    source: str = ""
    preprocess: str = ""
    licence: str = UNKNOWN
    licence_text: FileRecord | None = None


class TargetFacts(Record, frozen=True):
    """The chip that a bundle or a rung is for; `soc_model` and `htp_arch` are QNN's numbers for a
    Snapdragon. `fits`: the models of other chips whose NPU runs its binary, too."""

    id: Word
    soc_model: Size | None
    htp_arch: Size | None
    chip: str = ""
    npu: str = ""
    fits: tuple[Word, ...] | UnsetType = UNSET


class Tower(Record, frozen=True):
    """The fallback ladder of one tower, best first, and its self-test."""

    rungs: Annotated[tuple[Rung, ...], Meta(min_length=1)]
    golden: Golden


class TextFacts(Record, frozen=True):
    """A second text tower of the same image tower, for languages other than English: what a bundle
    has in place of its own fields when it searches by this tower."""

    student: StudentFacts
    text: Tower
    tokenizer: TokenizerSpec
    tokenizer_file: FileRecord
    token_table: TableRecord


class ReaderFacts(Record, frozen=True):
    """What reads the text in photos. `detector`: pixels [1, 3, S, S] -> the probability of text of
    each pixel [1, 1, S, S]. `recognizer`: pixels of a line [1, 3, 48, W] -> the probabilities of
    its characters [1, T, characters + 1], where output 0 is CTC's blank. `characters` is UTF-8 with
    one a line, in the order of the outputs; `places` the table of places by coordinates."""

    detector: Tower
    recognizer: Tower
    characters: FileRecord
    licence_text: FileRecord
    places: FileRecord | None = None


class BundleDocument(Record, frozen=True, tag_field="schema", tag=SCHEMA):
    """The fields of bundle.json, in their order on disk, after `schema`. `dim` is the width of the
    embeddings, which towers do not normalize; `sample` holds those of photos [M, dim] float32.
    `recall` and `precision` are of older versions, which had no export_report.json. `reader` is
    left out if photos' texts are not read, `multilingual` if there is one text tower."""

    name: str
    created: str
    student: StudentFacts
    target: TargetFacts
    dim: Dim
    image: Tower
    text: Tower
    preprocess: Preprocess
    tokenizer: TokenizerSpec
    tokenizer_file: FileRecord
    token_table: TableRecord
    sample: FileRecord
    tools: dict[str, str]
    recall: dict[str, Any] | None = None
    precision: dict[str, Any] | None = None
    reader: ReaderFacts | None = None
    multilingual: TextFacts | None = None

    def __post_init__(self) -> None:
        if len({student.image_sha256 for student in self.students}) > 1:
            raise ValueError("its text towers belong to different image towers")

    @property
    def students(self) -> tuple[StudentFacts, ...]:
        """The students that its towers are of."""
        other = self.multilingual
        return (self.student, other.student) if other else (self.student,)


class Bundle(BundleDocument, frozen=True, kw_only=True):
    """A folder with everything that a phone needs to search: towers, tokenizer, token table.

    Attributes:
        directory: the folder.

    The other fields are those of bundle.json (docs/bundle.md).
    """

    directory: Path

    def tower(self, name: TowerName) -> Tower:
        """Return the fallback ladder and the self-test of a tower.

        Args:
            name: "image", "text" or "multilingual"; of the reader, "detector" or "recognizer".

        Returns:
            Its `rungs`, best first, and `golden`: inputs with the embeddings to expect.

        Raises:
            BundleError: the bundle has no reader.
        """
        if name in TOWERS:
            return self.image if name == "image" else self.text
        if name == "multilingual":
            assert self.multilingual is not None  # else it is not among `towers`
            return self.multilingual.text
        if self.reader is None:
            raise BundleError(f"{self.directory} cannot read text.", Remedy.EXPORT_WITH_READER)
        return self.reader.detector if name == "detector" else self.reader.recognizer

    @property
    def towers(self) -> tuple[TowerName, ...]:
        """The names of its towers."""
        other: tuple[TowerName, ...] = () if self.multilingual is None else ("multilingual",)
        return (*TOWERS, *other, *(() if self.reader is None else READER_SHAPES))

    def for_language(self, language: str | None) -> Bundle:
        """Choose the text tower that reads a language, as apps do by the phone's.

        Args:
            language: its code, such as "de" or "pt-BR"; None for the tower that is first.

        Returns:
            The bundle with its multilingual text tower alone, if it has one and the language is
            not English; else this bundle.
        """
        if self.multilingual is None or re.split("[-_]", (language or "en").lower())[0] == "en":
            return self
        return structs.replace(self, multilingual=None, **structs.asdict(self.multilingual))

    def chip(self, rung: Rung) -> TargetFacts:
        """Tell which chip a rung is for.

        Args:
            rung: one of its rungs.

        Returns:
            The chip that the rung is compiled for; the bundle's first if it is for all.
        """
        return rung.chip or self.target

    @property
    def chips(self) -> tuple[TargetFacts, ...]:
        """The chips that it has rungs for."""
        chips = (self.chip(rung) for name in TOWERS for rung in self.tower(name).rungs)
        return tuple({chip.id: chip for chip in (self.target, *chips)}.values())

    def low_parity_warnings(self) -> list[str]:
        """Name the rungs that were kept although their parity is low.

        Returns:
            A sentence for each.
        """
        return [
            f"The {name} tower {rung.name} was exported with low parity: its "
            f"cosine to the float student is {rung.parity.cosine_mean:.4f}, where "
            f"{LEAST_PARITY} is asked for. It finds other photos than the student would."
            for name in self.towers
            for rung in self.tower(name).rungs
            if rung.parity is not None and rung.parity.is_low
        ]

    def path(self, record: FileRecord) -> Path:
        """Find a file that bundle.json names.

        Args:
            record: the file, such as `token_table.file`.

        Returns:
            Its path.
        """
        return self.directory / record.path

    def array(self, record: FileRecord, width: int | None = None) -> NDArray[Any]:
        """Read an array file that bundle.json names.

        Args:
            record: the file, such as `sample`.
            width: how many numbers a row has to have; None for any shape.

        Returns:
            [N, ...] or [N, width], of the type in the file; all numbers are finite.

        Raises:
            BundleError: the file does not hold such an array.
        """
        return read_array(self.path(record), width)

    def files(self) -> list[FileRecord]:
        """List the files that bundle.json names.

        Returns:
            Every file, as often as bundle.json names it.
        """
        found = [self.tokenizer_file, self.token_table.file, self.sample]
        if (other := self.multilingual) is not None:
            found += [other.tokenizer_file, other.token_table.file]
        for tower in map(self.tower, self.towers):
            for rung in tower.rungs:
                found += [*rung.files, rung.expected]
            found += [*tower.golden.inputs.values(), tower.golden.embeddings]
            found += [tower.golden.ids] if tower.golden.ids is not None else []
        found += [text for student in self.students if (text := student.licence_text) is not None]
        if self.reader is not None:
            found += [self.reader.characters, self.reader.licence_text]
            found += [self.reader.places] if self.reader.places is not None else []
        return found

    def save(self) -> None:
        """Write bundle.json atomically: a directory with one is a complete bundle.

        Raises:
            OSError: it cannot be written.
        """
        fields = {name: getattr(self, name) for name in BundleDocument.__struct_fields__}
        for name in ("reader", "multilingual"):
            fields[name] = fields[name] or UNSET  # which is left out
        encoded = msgspec.json.encode(BundleDocument(**fields))
        document = msgspec.json.format(encoded, indent=2) + b"\n"
        write_atomically(self.directory / MANIFEST, document)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            BundleError: a file differs; the first one is named.
        """
        for record in self.files():
            path = self.path(record)
            if sha256_of(path) != record.sha256:
                raise BundleError(
                    f"{path} is damaged: its sha256 is not the one in {MANIFEST}.",
                    Remedy.EXPORT_AGAIN,
                )

    @staticmethod
    def load(directory: Path | str, *, verify: bool = True) -> Bundle:
        """Read and check a bundle.

        Args:
            directory: the folder that an export wrote.
            verify: compare every file with its checksum. This reads megabytes: a process that is
                short of memory does it once, not at each start.

        Returns:
            The bundle, whose files all exist and have the sizes that bundle.json states.

        Raises:
            BundleError: a folder or file is missing, the schema is unknown, a field is missing,
                unknown or of the wrong type, a file differs from its record, or a path leaves
                the folder.
        """
        directory = Path(directory)
        path = directory / MANIFEST
        if not path.exists():
            restore(directory)
        try:
            raw = read_regular(path, _MOST_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            kind = folder_kind(directory)
            raise BundleError(
                f"{directory} is not a bundle: it is {kind}."
                if kind in _INSTEAD
                else f"No bundle at {directory}: {path} is missing.",
                _INSTEAD.get(kind, Remedy.EXPORT_BUNDLE)(student=directory),
            ) from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error}.", Remedy.EXPORT_AGAIN) from error
        document = decode(
            raw, BundleDocument, path, BundleError, Remedy.EXPORT_AGAIN, schema=SCHEMA
        )
        bundle = Bundle(directory=directory, **structs.asdict(document))
        for record in bundle.files():
            _check_present(bundle, record)
        if verify:
            bundle.verify()
        return bundle


def _check_present(bundle: Bundle, record: FileRecord) -> None:
    parts, path = PurePosixPath(record.path), bundle.path(record)
    leaves = parts.is_absolute() or ".." in parts.parts or bool({"\\", "\0"} & set(record.path))
    # Links inside the bundle are followed.
    if leaves or not real_path(path).is_relative_to(real_path(bundle.directory)):
        raise BundleError(
            f"{bundle.directory / MANIFEST} names {record.path!r}, which leaves the bundle.",
            "Do not use this bundle: it was not written by mcad-mobile.",
        )
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise BundleError(f"{path} cannot be read: {error}.", Remedy.EXPORT_AGAIN) from error
    if size is None:
        raise BundleError(f"{path} is missing from the bundle.", Remedy.EXPORT_AGAIN)
    if size != record.bytes:
        raise BundleError(
            f"{path} has {size} bytes, not the {record.bytes} of {MANIFEST}.", Remedy.EXPORT_AGAIN
        )


def check_replaceable(out: Path) -> None:
    """Raise ExportError if replacing `out` would remove something that is not a bundle, DiskError
    if `out` cannot be replaced."""
    check_movable(out)
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise ExportError(
            f"{out} exists and is not a bundle: it would be overwritten.",
            Remedy.CHOOSE_BUNDLE_FOLDER,
        )
