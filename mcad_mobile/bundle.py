"""Bundle: a directory with bundle.json and all that a phone needs to search."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mcad_mobile.errors import BundleError
from mcad_mobile.preprocess import Preprocess
from mcad_mobile.replace import restore
from mcad_mobile.tokenize import TokenizerSpec

SCHEMA = "mcad-bundle/2"
MANIFEST = "bundle.json"
TOWERS: tuple[TowerName, ...] = ("image", "text")
TowerName = Literal["image", "text"]

# A rung under it is not written unless the user says --allow-low-parity.
LEAST_PARITY = 0.95

_EXPORT_AGAIN = "Export the bundle again: mcad-mobile export --target CHIP --out DIR."


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: path relative to it, in POSIX spelling."""

    path: str
    sha256: str
    bytes: int

    @staticmethod
    def of(bundle: Path, path: Path) -> FileRecord:
        return FileRecord(
            path=path.relative_to(bundle).as_posix(),
            sha256=_sha256(path),
            bytes=path.stat().st_size,
        )


@dataclass(frozen=True)
class TensorSpec:
    """A tower's input or output. Integer tensors that stand for real values carry a `scale` and
    a `zero_point`: real = scale * (stored - zero_point). The text tower's ONNX model for CPUs takes
    any number of tokens up to that of its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Parity:
    """Cosine of exported to float-student embeddings over `inputs` real inputs."""

    inputs: int
    cosine_mean: float
    cosine_min: float


@dataclass(frozen=True)
class Rung:
    """One way to run a tower. The first of `files` is the one a runtime opens; the others (a
    context binary) lie beside it. `npu_nodes` of `total_nodes` run on the chip's NPU: are compiled
    for it, or of a .tflite that is not, are of a kind that its compiler takes. `notes` says what
    was left out and how to get it.

    Two things that can be wrong with it are kept apart. `parity` is what quantization cost, a fact
    of the file. `expected` holds what this very file puts out for the golden inputs [N, dim]
    float32, of unit length: what a processor's kernels make of it is compared with that.
    """

    runtime: str
    precision: str
    files: tuple[FileRecord, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    total_nodes: int
    expected: FileRecord
    npu_nodes: int = 0
    parity: Parity | None = None
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def low_parity(self) -> bool:
        """Whether quantization cost it so much that it was kept at the user's word alone."""
        return self.parity is not None and self.parity.cosine_mean < LEAST_PARITY


@dataclass(frozen=True)
class Golden:
    """Real inputs by name and the float student's embeddings of them [N, dim] float32, of unit
    length, as .npy files: the self-test that every implementation of a tower can run. `texts` are
    what the text tower's inputs were made from, and `ids` [N, L] int32 their tokens."""

    inputs: dict[str, FileRecord]
    embeddings: FileRecord
    texts: tuple[str, ...] = ()
    ids: FileRecord | None = None


@dataclass(frozen=True)
class TableRecord:
    """The token table's file: `tokens` rows of `width` numbers (text/rows.py)."""

    file: FileRecord
    tokens: int
    width: int


@dataclass(frozen=True)
class NoMatch:
    """How far the best photo of N must lie above what the query scores with photos at large:
    `margin` + `per_log_n` * ln N. Measured for one student (benchmarks/no_match.py)."""

    margin: float
    per_log_n: float


@dataclass(frozen=True)
class Tower:
    """The fallback ladder of one tower, best first, and its self-test."""

    rungs: tuple[Rung, ...]
    golden: Golden


@dataclass(frozen=True)
class Bundle:
    """What bundle.json says; `directory` is where it was read from or written to.

    `sample` is a file of photo embeddings [M, dim] float32, for benchmarks. `no_match` is None for
    a student for which nobody has measured from which score on a photo matches.
    """

    directory: Path
    name: str
    created: str
    student: dict[str, str]
    target: dict[str, str]
    dim: int
    image: Tower
    text: Tower
    preprocess: Preprocess
    tokenizer: TokenizerSpec
    tokenizer_file: FileRecord
    token_table: TableRecord
    sample: FileRecord
    tools: dict[str, str]
    no_match: NoMatch | None = None

    def tower(self, name: TowerName) -> Tower:
        return self.image if name == "image" else self.text

    def low_parity(self) -> list[str]:
        """A sentence for each rung that was kept with --allow-low-parity."""
        return [
            f"The {name} tower {rung.runtime} {rung.precision} was exported with low parity: its "
            f"cosine to the float student is {rung.parity.cosine_mean:.4f}, where "
            f"{LEAST_PARITY} is asked for. It finds other photos than the student would."
            for name in TOWERS
            for rung in self.tower(name).rungs
            if rung.parity is not None and rung.low_parity
        ]

    def path(self, record: FileRecord) -> Path:
        return self.directory / record.path

    def files(self) -> list[FileRecord]:
        found = [self.tokenizer_file, self.token_table.file, self.sample]
        for tower in (self.image, self.text):
            found += [file for rung in tower.rungs for file in rung.files]
            found += [rung.expected for rung in tower.rungs]
            found += [*tower.golden.inputs.values(), tower.golden.embeddings]
            found += [tower.golden.ids] if tower.golden.ids is not None else []
        return found

    def save(self) -> None:
        """Write bundle.json atomically: a directory with one is a complete bundle."""
        partial = self.directory / f".{MANIFEST}.partial"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(_to_json(self), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.directory / MANIFEST)

    def verify(self) -> None:
        """Compare every file with its checksum. BundleError names the first that
        differs."""
        for record in self.files():
            path = self.path(record)
            if _sha256(path) != record.sha256:
                raise BundleError(
                    f"{path} is damaged: its sha256 is not the one in {MANIFEST}.", _EXPORT_AGAIN
                )

    @staticmethod
    def load(directory: Path, *, verify: bool = True) -> Bundle:
        """Read and check a bundle. BundleError for a missing folder or file, an unknown schema,
        a wrong checksum, or a path that leaves the directory. `verify=False` skips the checksums
        (megabytes of reading that a process short of memory does once, not at each start)."""
        path = directory / MANIFEST
        if not path.exists():
            restore(directory)
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise BundleError(
                f"No bundle at {directory}: {path} is missing.", _EXPORT_AGAIN
            ) from None
        except (ValueError, OSError) as error:
            raise BundleError(f"{path} cannot be read: {error}.", _EXPORT_AGAIN) from error
        found = data.get("schema") if isinstance(data, dict) else None
        if found != SCHEMA:
            raise BundleError(
                f"{path} has schema {found!r}; this version reads {SCHEMA!r}.",
                f"Update mcad-mobile, or: {_EXPORT_AGAIN}",
            )
        try:
            bundle = _from_json(directory, data)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise BundleError(
                f"{path} lacks or misnames a field: {type(error).__name__} {error}.", _EXPORT_AGAIN
            ) from error
        for record in bundle.files():
            _check_present(bundle, record)
        if verify:
            bundle.verify()
        return bundle


def _check_present(bundle: Bundle, record: FileRecord) -> None:
    parts = PurePosixPath(record.path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in record.path:
        raise BundleError(
            f"{bundle.directory / MANIFEST} names {record.path!r}, which leaves the bundle.",
            "Do not use this bundle: it was not written by mcad-mobile.",
        )
    path = bundle.path(record)
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle.", _EXPORT_AGAIN)
    if path.stat().st_size != record.bytes:
        raise BundleError(
            f"{path} has {path.stat().st_size} bytes, not the {record.bytes} of {MANIFEST}.",
            _EXPORT_AGAIN,
        )


def _to_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": bundle.name,
        "created": bundle.created,
        "student": bundle.student,
        "target": bundle.target,
        "embedding": {"dim": bundle.dim, "normalized": False},
        "image": _tower_to_json(bundle.image),
        "text": _tower_to_json(bundle.text),
        "preprocess": asdict(bundle.preprocess),
        "tokenizer": {**bundle.tokenizer.to_json(), "record": asdict(bundle.tokenizer_file)},
        "token_table": asdict(bundle.token_table),
        "no_match": None if bundle.no_match is None else asdict(bundle.no_match),
        "sample": asdict(bundle.sample),
        "parity": {name: _parity_to_json(bundle.tower(name).rungs[0]) for name in TOWERS},
        "tools": bundle.tools,
    }


def _parity_to_json(rung: Rung) -> dict[str, Any] | None:
    return None if rung.parity is None else asdict(rung.parity)


def _tower_to_json(tower: Tower) -> dict[str, Any]:
    """The first rung's fields lie at the tower's own level, the others under `fallback`."""
    first, *others = (asdict(rung) for rung in tower.rungs)
    return {**first, "fallback": others, "golden": asdict(tower.golden)}


def _from_json(directory: Path, data: dict[str, Any]) -> Bundle:
    tokenizer = dict(data["tokenizer"])
    tokenizer_file = FileRecord(**tokenizer.pop("record"))
    return Bundle(
        directory=directory,
        name=data["name"],
        created=data["created"],
        student=data["student"],
        target=data["target"],
        dim=data["embedding"]["dim"],
        image=_tower_from_json(data["image"]),
        text=_tower_from_json(data["text"]),
        preprocess=Preprocess.from_json(data["preprocess"]),
        tokenizer=TokenizerSpec.from_json(tokenizer),
        tokenizer_file=tokenizer_file,
        token_table=_table_from_json(data["token_table"]),
        no_match=None if data["no_match"] is None else NoMatch(**data["no_match"]),
        sample=FileRecord(**data["sample"]),
        tools=data["tools"],
    )


def _tower_from_json(data: dict[str, Any]) -> Tower:
    fields = {key: value for key, value in data.items() if key not in ("fallback", "golden")}
    golden = data["golden"]
    return Tower(
        rungs=tuple(_rung_from_json(rung) for rung in (fields, *data["fallback"])),
        golden=Golden(
            inputs={name: FileRecord(**record) for name, record in golden["inputs"].items()},
            embeddings=FileRecord(**golden["embeddings"]),
            texts=tuple(golden["texts"]),
            ids=None if golden["ids"] is None else FileRecord(**golden["ids"]),
        ),
    )


def _table_from_json(data: dict[str, Any]) -> TableRecord:
    return TableRecord(FileRecord(**data["file"]), data["tokens"], data["width"])


def _rung_from_json(data: dict[str, Any]) -> Rung:
    parity = data["parity"]
    return Rung(
        **{
            **data,
            "files": tuple(FileRecord(**record) for record in data["files"]),
            "inputs": tuple(_spec_from_json(spec) for spec in data["inputs"]),
            "outputs": tuple(_spec_from_json(spec) for spec in data["outputs"]),
            "parity": None if parity is None else Parity(**parity),
            "expected": FileRecord(**data["expected"]),
            "notes": tuple(data["notes"]),
        }
    )


def _spec_from_json(data: dict[str, Any]) -> TensorSpec:
    return TensorSpec(**{**data, "shape": tuple(data["shape"])})


def _sha256(path: Path) -> str:
    import hashlib  # OpenSSL is 3 MiB that a process that only searches need not load

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
