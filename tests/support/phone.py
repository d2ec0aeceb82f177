"""A phone as an app sees it: volumes that number their photos, access, heat; and the app's
interface to the engine, on a JVM."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import open_index
from tests.support.probe import Probe

OWN = "external_primary"
CARD = "1a2b-3c4d"


class FakePhone:
    """Photos on volumes. The engine sees changes at its next query."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "phone.json"
        self.volumes: dict[str, dict[str, str]] = {OWN: {}}
        self.versions = {OWN: "1", CARD: "1"}
        self.out: set[str] = set()
        self.unanswered: set[str] = set()
        self.chosen: set[str] | None = None
        self.access = True
        self.places = True
        self.heat = 0
        self.counts_changes = False
        self._changes = 0
        self.taken: dict[str, int] = {}
        self._ids = 0
        self.write()

    def take(self, *names: str, volume: str = OWN, seed: int = 0) -> str:
        """Take small, different photos of noise; an existing name gets a new photo. Return the last
        one's path in the index."""
        for name in names:
            file = self.folder / volume / name
            file.parent.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng([seed, *name.encode()])
            pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            # One photo per second: MediaStore stores no finer times.
            self._ids += 1
            os.utime(file, (1_700_000_000 + self._ids, 1_700_000_000 + self._ids))
            photos = self.volumes.setdefault(volume, {})
            if str(file) not in photos.values():
                photos[str(self._ids)] = str(file)
        self.write()
        return self.path(names[-1], volume)

    def paint(self, name: str, volume: str = OWN) -> None:
        """Take a photo of a single colour."""
        self.take(name, volume=volume)
        file = self.folder / volume / name
        Image.new("RGB", (32, 32), "white").save(file, "PNG")

    def delete(self, *names: str, volume: str = OWN) -> None:
        for name in names:
            file = self.folder / volume / name
            file.unlink()
            photos = self.volumes[volume]
            self.volumes[volume] = {i: path for i, path in photos.items() if path != str(file)}
        self.write()

    def renumber(self, volume: str = OWN, *, version: str | None = None) -> None:
        """Rebuild the provider's database: the same photos, each with another's number."""
        photos = self.volumes[volume]
        numbers = [*photos][1:] + [*photos][:1]
        self.volumes[volume] = dict(zip(numbers, photos.values(), strict=True))
        if version is not None:
            self.versions[volume] = version
        self.write()

    def path(self, name: str, volume: str = OWN) -> str:
        """Return a photo's current path in the index."""
        file = str(self.folder / volume / name)
        (number,) = [i for i, path in self.volumes[volume].items() if path == file]
        kind = "video" if name.endswith(".mp4") else "images"
        return f"content://media/{volume}/{kind}/media/{number}"

    def name(self, path: str) -> str:
        volume, number = path.split("/")[2 + 1], path.split("/")[-1]
        return Path(self.volumes[volume][number]).name

    def write(self) -> None:
        def seen(name: str, photos: dict[str, str]) -> dict[str, str]:
            if name in self.unanswered:
                return {}
            if self.chosen is None:
                return photos
            return {i: path for i, path in photos.items() if Path(path).name in self.chosen}

        volumes = [
            {
                "name": name,
                "version": self.versions[name],
                "photos": seen(name, photos),
                "order": [*seen(name, photos)],  # a JSON object's fields are unordered
            }
            for name, photos in self.volumes.items()
            if name not in self.out
        ]
        document = {
            "volumes": volumes,
            "whole": self.chosen is None,
            "access": self.access,
            "places": self.places,
            "heat": self.heat,
            "state": str(self._changes) if self.counts_changes else "",
            "taken": self.taken,
        }
        self._changes += 1
        partial = self.file.with_suffix(".tmp")
        partial.write_text(json.dumps(document), "utf-8")
        partial.replace(self.file)

    def change(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.write()


class App:
    """An app on a phone, and its index."""

    def __init__(
        self, probe: Probe | None, bundle: Bundle, phone: FakePhone, **options: Any
    ) -> None:
        self._probe, self.bundle, self.phone = probe, bundle, phone
        self.directory = phone.folder / "app"
        self._options = options

    def ask(self, verb: str, **request: Any) -> Any:
        assert self._probe is not None, "it is not running"
        return self._probe.ask(
            "life",
            verb=verb,
            bundle=self.bundle.directory,
            directory=self.directory,
            phone=self.phone.file,
            **self._options,
            **request,
        )

    def index(self, **request: Any) -> Any:
        return self.ask("index", **request)

    def close(self) -> None:
        self.ask("close")

    def limit_files(self, most_bytes: int) -> None:
        assert self._probe is not None, "it is not running"
        self._probe.limit_files(most_bytes)

    @property
    def index_directory(self) -> Path:
        return self.directory / f"index-{self.bundle.student.image_sha256[:16]}"

    def indexed(self) -> list[str]:
        """Return the paths of the index, verified and read by Python."""
        index = open_index(self.bundle, self.index_directory)
        index.verify()
        return sorted(index.paths())

    def embeddings(self) -> dict[str, Any]:
        index = open_index(self.bundle, self.index_directory)
        return {self.phone.name(path): index.embedding(path) for path in index.paths()}


def killed(process: Probe, app: App, after_s: float) -> bool:
    """Kill a run after a delay; return whether it was still running."""
    killer = threading.Timer(after_s, process.kill)
    killer.start()
    try:
        app.index()
        return False
    except (AssertionError, BrokenPipeError, ValueError):  # no answer, or a partial one
        return True
    finally:
        killer.cancel()
        process.end()
