"""Bundle: a directory with bundle.json and all that a phone needs to search."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from mcad_mobile.bundle_precision import PrecisionRecord, RecallRecord
from mcad_mobile.bundle_records import (
    LEAST_PARITY,
    Embedding,
    FileRecord,
    Golden,
    NoMatch,
    Parities,
    Parity,
    Rung,
    StudentFacts,
    TableRecord,
    TargetFacts,
    TensorSpec,
    TokenizerOnDisk,
    Tower,
    TowerOnDisk,
    sha256_of,
)
from mcad_mobile.errors import BundleError
from mcad_mobile.preprocess import Preprocess
from mcad_mobile.replace import restore
from mcad_mobile.tokenize import TokenizerSpec
from mcad_mobile.typed import Record, decode, what_is

__all__ = [
    "LEAST_PARITY",
    "MANIFEST",
    "SCHEMA",
    "TOWERS",
    "Bundle",
    "FileRecord",
    "Golden",
    "NoMatch",
    "Parity",
    "Rung",
    "StudentFacts",
    "TableRecord",
    "TargetFacts",
    "TensorSpec",
    "Tower",
    "TowerName",
]

SCHEMA = "mcad-bundle/2"
MANIFEST = "bundle.json"
TOWERS: tuple[TowerName, ...] = ("image", "text")
TowerName = Literal["image", "text"]

_EXPORT_AGAIN = "Export the bundle again: mcad-mobile export --target CHIP --out DIR."
# What to do with what was given in place of a bundle.
_INSTEAD = {
    "a photo index": "Give the bundle that it was made with; an index is given by --index.",
    "a student": "Make a bundle of it: mcad-mobile export --student DIR --target CHIP --out DIR.",
    "a file": "Give the folder that `mcad-mobile export` wrote.",
}


class Bundle(msgspec.Struct, frozen=True):
    """What bundle.json says; `directory` is where it was read from or written to.

    `sample` is a file of photo embeddings [M, dim] float32, for benchmarks. `no_match` is None for
    a student for which nobody has measured from which score on a photo matches; `recall` where the
    export measured none, `precision` where it did not choose by it.
    """

    directory: Path
    name: str
    created: str
    student: StudentFacts
    target: TargetFacts
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
    recall: RecallRecord | None = None
    precision: PrecisionRecord | None = None

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
        import json

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
            if sha256_of(path) != record.sha256:
                raise BundleError(
                    f"{path} is damaged: its sha256 is not the one in {MANIFEST}.", _EXPORT_AGAIN
                )

    @staticmethod
    def load(directory: Path | str, *, verify: bool = True) -> Bundle:
        """Read and check a bundle. BundleError for a missing folder or file, an unknown schema, a
        field that is missing, unknown or of another kind, a wrong checksum, or a path that leaves
        the directory. `verify=False` skips the checksums (megabytes of reading that a process
        short of memory does once, not at each start)."""
        directory = Path(directory)
        path = directory / MANIFEST
        if not path.exists():
            restore(directory)
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            kind = what_is(directory)
            raise BundleError(
                f"{directory} is no bundle: it is {kind}."
                if kind in _INSTEAD
                else f"No bundle at {directory}: {path} is missing.",
                _INSTEAD.get(kind, _EXPORT_AGAIN),
            ) from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error}.", _EXPORT_AGAIN) from error
        read = decode(raw, _OnDisk, path, BundleError, _EXPORT_AGAIN, schema=SCHEMA)
        bundle = read.bundle(directory)
        for record in bundle.files():
            _check_present(bundle, record)
        if verify:
            bundle.verify()
        return bundle


def _check_present(bundle: Bundle, record: FileRecord) -> None:
    parts = PurePosixPath(record.path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in record.path or "\0" in record.path:
        raise BundleError(
            f"{bundle.directory / MANIFEST} names {record.path!r}, which leaves the bundle.",
            "Do not use this bundle: it was not written by mcad-mobile.",
        )
    path = bundle.path(record)
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise BundleError(f"{path} cannot be read: {error}.", _EXPORT_AGAIN) from error
    if size is None:
        raise BundleError(f"{path} is missing from the bundle.", _EXPORT_AGAIN)
    if size != record.bytes:
        raise BundleError(
            f"{path} has {size} bytes, not the {record.bytes} of {MANIFEST}.", _EXPORT_AGAIN
        )


def _to_json(bundle: Bundle) -> dict[str, Any]:
    plain = msgspec.to_builtins
    return {
        "schema": SCHEMA,
        "name": bundle.name,
        "created": bundle.created,
        "student": plain(bundle.student),
        "target": plain(bundle.target),
        "embedding": {"dim": bundle.dim, "normalized": False},
        "image": _tower_to_json(bundle.image),
        "text": _tower_to_json(bundle.text),
        "preprocess": plain(bundle.preprocess),
        "tokenizer": {
            "file": bundle.tokenizer_file.path,
            **plain(bundle.tokenizer),
            "record": plain(bundle.tokenizer_file),
        },
        "token_table": plain(bundle.token_table),
        "no_match": plain(bundle.no_match),
        "sample": plain(bundle.sample),
        "parity": {name: plain(bundle.tower(name).rungs[0].parity) for name in TOWERS},
        "tools": bundle.tools,
        **{name: plain(told) for name, told in _measured(bundle).items() if told is not None},
    }


def _measured(bundle: Bundle) -> dict[str, RecallRecord | PrecisionRecord | None]:
    """What a bundle that was exported without captioned photos does not have."""
    return {"recall": bundle.recall, "precision": bundle.precision}


def _tower_to_json(tower: Tower) -> dict[str, Any]:
    """The first rung's fields lie at the tower's own level, the others under `fallback`."""
    first, *others = msgspec.to_builtins(tower.rungs)
    return {**first, "fallback": others, "golden": msgspec.to_builtins(tower.golden)}


class _OnDisk(Record, frozen=True):
    schema: str
    name: str
    created: str
    student: StudentFacts
    target: TargetFacts
    embedding: Embedding
    image: TowerOnDisk
    text: TowerOnDisk
    preprocess: Preprocess
    tokenizer: TokenizerOnDisk
    token_table: TableRecord
    no_match: NoMatch | None
    sample: FileRecord
    parity: Parities
    tools: dict[str, str]
    recall: RecallRecord | None = None
    precision: PrecisionRecord | None = None

    def bundle(self, directory: Path) -> Bundle:
        return Bundle(
            directory=directory,
            name=self.name,
            created=self.created,
            student=self.student,
            target=self.target,
            dim=self.embedding.dim,
            image=self.image.tower(),
            text=self.text.tower(),
            preprocess=self.preprocess,
            tokenizer=self.tokenizer.spec(),
            tokenizer_file=self.tokenizer.record,
            token_table=self.token_table,
            sample=self.sample,
            tools=self.tools,
            no_match=self.no_match,
            recall=self.recall,
            precision=self.precision,
        )
