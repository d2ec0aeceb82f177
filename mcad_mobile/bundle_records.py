"""What bundle.json is made of: files, tensors, rungs and their ladders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mcad_mobile.tokenize import TokenizerSpec
from mcad_mobile.typed import Bytes, Count, FileName, Positive, Record, Sha256, Size, Word

# A rung under it is not written unless the user says --allow-low-parity.
LEAST_PARITY = 0.95

Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]
Dim = Annotated[int, Meta(ge=1, le=2**16)]


class FileRecord(Record, frozen=True):
    """A file of the bundle: path relative to it, in POSIX spelling."""

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
    """A tower's input or output. Integer tensors that stand for real values carry a `scale` and
    a `zero_point`: real = scale * (stored - zero_point). The text tower's ONNX model for CPUs takes
    any number of tokens up to that of its shape."""

    name: Word
    dtype: Word
    shape: tuple[Size, ...]
    layout: str
    scale: Positive | None = None
    zero_point: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None


class Parity(Record, frozen=True):
    """Cosine of exported to float-student embeddings over `inputs` real inputs."""

    inputs: Size
    cosine_mean: Cosine
    cosine_min: Cosine


class Rung(Record, frozen=True):
    """One way to run a tower. The first of `files` is the one a runtime opens; the others (a
    context binary) lie beside it. `npu_nodes` of `total_nodes` run on the chip's NPU: are compiled
    for it, or of a .tflite that is not, are of a kind that its compiler takes. `notes` says what
    was left out and how to get it.

    Two things that can be wrong with it are kept apart. `parity` is what quantization cost, a fact
    of the file. `expected` holds what this very file puts out for the golden inputs [N, dim]
    float32, of unit length: what a processor's kernels make of it is compared with that.
    """

    runtime: Word
    precision: Word
    files: Annotated[tuple[FileRecord, ...], Meta(min_length=1)]
    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    total_nodes: Count
    expected: FileRecord
    npu_nodes: Count = 0
    parity: Parity | None = None
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def low_parity(self) -> bool:
        """Whether quantization cost it so much that it was kept at the user's word alone."""
        return self.parity is not None and self.parity.cosine_mean < LEAST_PARITY

    def facts(self) -> dict[str, Any]:
        """What `export --json` and the benchmarks tell of a rung that was compared with the float
        student, on `inputs` real inputs."""
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
    """Real inputs by name and the float student's embeddings of them [N, dim] float32, of unit
    length, as .npy files: the self-test that every implementation of a tower can run. `texts` are
    what the text tower's inputs were made from, and `ids` [N, L] int32 their tokens."""

    inputs: Annotated[dict[str, FileRecord], Meta(min_length=1)]
    embeddings: FileRecord
    texts: tuple[str, ...] = ()
    ids: FileRecord | None = None


class TableRecord(Record, frozen=True):
    """The token table's file: `tokens` rows of `width` numbers (text/rows.py)."""

    file: FileRecord
    tokens: Annotated[int, Meta(ge=1, le=2**24)]
    width: Annotated[int, Meta(ge=1, le=2**14)]


class NoMatch(Record, frozen=True):
    """How far the best photo of N must lie above what the query scores with photos at large:
    `margin` + `per_log_n` * ln N. Measured for one student (benchmarks/no_match.py)."""

    margin: Annotated[float, Meta(ge=-2, le=2)]
    per_log_n: Annotated[float, Meta(ge=0, le=1)]


class StudentFacts(Record, frozen=True):
    """Whose towers these are: `sha256` stands for all that their embeddings depend on. `source` of
    the weights and of the numbers in `preprocess`, and their `licence`, as far as they are told."""

    name: Word
    sha256: Sha256
    source: str = ""
    preprocess: str = ""
    licence: str = ""


class TargetFacts(Record, frozen=True):
    """The chip that a bundle is for: see targets/."""

    id: Word
    chip: str = ""
    npu: str = ""


class Tower(Record, frozen=True):
    """The fallback ladder of one tower, best first, and its self-test."""

    rungs: tuple[Rung, ...]
    golden: Golden


# As it lies on disk, where that is another shape.


class Embedding(Record, frozen=True):
    dim: Dim
    normalized: bool = False


class TowerOnDisk(Rung, frozen=True, kw_only=True):
    """The first rung's fields lie at the tower's own level, the others under `fallback`."""

    fallback: tuple[Rung, ...]
    golden: Golden

    def tower(self) -> Tower:
        first = Rung(*(getattr(self, name) for name in Rung.__struct_fields__))
        return Tower((first, *self.fallback), self.golden)


class TokenizerOnDisk(TokenizerSpec, frozen=True, kw_only=True):
    """`file` is what readers of old look at: the same as in `record`, which is verified."""

    file: FileName
    record: FileRecord

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file != self.record.path:
            raise ValueError(f"file is {self.file!r}, and its record says {self.record.path!r}")

    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(*(getattr(self, name) for name in TokenizerSpec.__struct_fields__))


class Parities(Record, frozen=True):
    """Of the first rungs; here for readers, each rung has its own."""

    image: Parity | None
    text: Parity | None


def sha256_of(path: Path) -> str:
    import hashlib  # OpenSSL is 3 MiB that a process that only searches need not load

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
