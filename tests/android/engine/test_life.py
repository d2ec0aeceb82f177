"""The life of an app on a phone, through its one door: what may come, one after the other, and a
process that is killed at any moment."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index import PhotoIndex
from tests.support.phone import CARD, OWN, App, FakePhone, killed
from tests.support.probe import EngineError, Probe

HOUR_MS = 60 * 60 * 1000
NAMES = [f"{number:03d}.png" for number in range(100)]
KILLS = 50


class Lives:
    """An app that is started anew each time, with nothing but its files: in the JVM of `probe`, or
    where there is none in one of its own."""

    def __init__(
        self,
        classes: Path,
        scratch: Path,
        bundle: Bundle,
        phone: FakePhone,
        probe: Probe | None = None,
    ) -> None:
        self._classes, self._scratch, self._probe = classes, scratch, probe
        self.bundle, self.phone = bundle, phone

    def life(self) -> Iterator[App]:
        if self._probe is None:
            yield from self.process()
            return
        app = App(self._probe, self.bundle, self.phone)
        yield app
        app.close()

    def process(self) -> Iterator[App]:
        process = Probe(self._classes, self._scratch)
        yield App(process, self.bundle, self.phone)
        process.close()

    def killed(self, after_s: float) -> bool:
        """Whether the kill came before the run was through."""
        process = Probe(self._classes, self._scratch)
        return killed(process, App(process, self.bundle, self.phone), after_s)


def committed(app: App) -> set[str]:
    """What Python finds in the index; every byte of it is checked."""
    if not (app.index_directory / "manifest.json").exists():
        return set()
    index = PhotoIndex.open(app.index_directory)
    index.verify()
    paths = index.paths()
    assert len(paths) == len({*paths}) == index.photos
    return {*paths}


def test_a_whole_life(java_classes, probe, tmp_path, two_rungs):
    bundle = two_rungs
    phone = FakePhone(tmp_path)
    lives = Lives(java_classes, tmp_path, bundle, phone, probe)
    phone.change(access=False)
    for app in lives.life():  # installed, and not allowed to see anything
        with pytest.raises(EngineError, match="may not see photos"):
            app.index()
        assert app.ask("search", words="a dog", k=5)["paths"] == []
    phone.change(access=True)
    phone.take(*NAMES)
    phone.take("on-card.png", volume=CARD)
    for app in lives.life():  # the first run
        outcome = app.index()
        assert (outcome["added"], outcome["left"]) == (len(NAMES) + 1, 0)
        assert len(app.ask("search", words="a dog", k=5)["paths"]) == 5
        first = app.ask("rungs")["image"]["runs"]
    everything = committed(app)
    phone.change(out={CARD})
    for app in lives.life():  # the card is out for two days
        assert app.index(ms=48 * HOUR_MS)["deleted"] == 0
        assert len(app.ask("search", words="a dog", k=200)["paths"]) == len(NAMES)
    phone.change(out=set())
    phone.renumber(version="2")
    for app in lives.life():  # the provider began anew
        outcome = app.index()
        assert (outcome["added"], outcome["moved"], outcome["deleted"]) == (0, len(NAMES), 0)
    assert committed(app) == everything  # the same numbers, of other photos
    phone.change(chosen={*NAMES[:2]})
    for app in lives.life():  # the user lets it see two photos alone, then all
        assert len(app.ask("search", words="a dog", k=200)["paths"]) == 2
        assert app.index()["deleted"] == 0
        phone.change(chosen=None)
        assert app.index()["added"] == 0
    phone.take("new.png")
    for app in lives.process():
        app.ask("search", words="a dog", k=1)
        app.limit_files(12_000)  # no space
        with pytest.raises(EngineError, match="could not be written"):
            app.index()
        assert app.ask("state")["failure"] == "STORAGE"
        assert len(app.ask("search", words="a dog", k=200)["paths"]) == len(NAMES) + 1
        assert committed(app) == everything
    phone.change(unanswered={OWN})
    for app in lives.life():  # the provider answers with nothing
        assert app.index()["photos"] == len(everything)
    phone.change(unanswered=set())
    for app in lives.life():
        assert app.index()["added"] == 1
        assert app.ask("count")["left"] == 0
    phone.take("hot.png", "Downloads/unwanted.png")
    phone.change(heat=4)
    for app in lives.life():  # it is hot, and the user does not wait
        stopped = app.ask("hot")
        assert (stopped["rests"], stopped["outcome"]["left"]) == (1, 2)
    phone.change(heat=0)
    for app in lives.life():  # and wants no downloads
        app.ask("choose_folders", only=False, names=["Downloads"])
    note = app.directory / "rungs" / "trying-image.json"
    environment = f"app 1, firmware 1 {bundle.student.sha256} {bundle.created}"
    assert first.startswith("onnx int8")
    # As a process leaves it that dies over a rung.
    note.write_text(
        json.dumps({"environment": environment, "rung": f"image {first}", "process": 1})
    )
    for app in lives.life():
        assert app.index()["added"] == 1
        image = app.ask("rungs")["image"]
        assert (image["runs"], image["skipped"][0][:4]) == ("onnx fp32 by CPU", "DIED")
        found = app.ask("search", words="a dog", k=200, folders=[""])["paths"]
        assert phone.path("hot.png") in found
        assert phone.path("Downloads/unwanted.png") not in app.indexed()


def traced(file: Path) -> list[tuple[str, ...]]:
    """What was flushed, ("fsync", PATH), and renamed, ("rename", FROM, TO), in its order."""
    events = []
    for line in file.read_text("utf-8", "replace").splitlines():
        flushed = re.search(r" fsync\(\d+<(.*)>\)? ", line)
        renamed = re.search(r' rename\w*\(.*"(.*)", .*"(.*)"', line)
        if flushed:
            events.append(("fsync", flushed.group(1)))
        elif renamed:
            events.append(("rename", *renamed.groups()))
    return events


def test_what_a_name_stands_for_is_on_the_disk_before_the_name(
    java_classes, bundle, phone, tmp_path
):
    """A phone that is switched off keeps what was committed: bundle, segments, manifest."""
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing; scripts/setup-system.sh tests installs it")
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    calls = "trace=fsync,rename,renameat,renameat2"
    watch = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", calls, "-o", trace]
    phone.take(*NAMES[:3])
    probe = Probe(java_classes, tmp_path, under=watch)
    app = App(probe, bundle, phone)
    app.index()
    probe.close()
    events = traced(trace)
    directory, index = str(app.directory), str(app.index_directory)

    def assert_flushed(to: str, before: list[str]) -> None:
        """All of it before the rename, and the folder of the new name behind."""
        (at,) = [i for i, event in enumerate(events) if event[0] == "rename" and event[2] == to]
        assert {("fsync", path) for path in before} <= {*events[:at]}
        assert ("fsync", str(Path(to).parent)) in events[at:]

    partial = f"{directory}/bundle.partial"
    inside = ["bundle.json", *(record.path for record in bundle.files())]
    folders = {partial, *(str(Path(f"{partial}/{name}").parent) for name in inside)}
    assert_flushed(f"{directory}/bundle", [*(f"{partial}/{name}" for name in inside), *folders])
    commits = [i for i, event in enumerate(events) if event[-1] == f"{index}/manifest.json"]
    (segment,) = app.index_directory.glob("*.mcs")
    written = events.index(("fsync", str(segment)))
    assert written < commits[-1]
    last = events[written : commits[-1]]
    assert ("fsync", events[commits[-1]][1]) in last  # the manifest, under its other name
    assert ("fsync", index) in last
    assert ("fsync", index) in events[commits[-1] :]
    note = f"{directory}/rungs/trying-image.json"
    flushed = events.index(("fsync", f"{note}.tmp"))
    assert events[flushed + 1] == ("rename", f"{note}.tmp", note)
    assert events[flushed + 2] == ("fsync", f"{directory}/rungs")


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_committed(java_classes, tmp_path, bundle):
    phone = FakePhone(tmp_path)
    lives = Lives(java_classes, tmp_path, bundle, phone)
    random = Random(11)
    phone.take(*NAMES)
    opened = phone.folder / "opened.txt"
    app = App(None, bundle, phone)  # to look into its folder
    before, kills, number, inside = committed(app), 0, 0, 0
    edited: set[str] = set()
    gone: set[str] = set()
    longest_s = 4.0
    while kills < KILLS:
        number += 1
        opened.write_text("")
        # One is edited, one deleted, some are new.
        edited.add(phone.take(f"{number:03d}.png", seed=1))
        phone.take(f"gone-{number}.png", *(f"new-{number}-{i}.png" for i in range(40)))
        if number > 1:
            gone.add(phone.path(f"gone-{number - 1}.png"))
            phone.delete(f"gone-{number - 1}.png")
        killed = lives.killed(random.uniform(0.1, longest_s))
        kills += killed
        after = committed(app)
        assert before - gone <= after, "a committed photo was lost"
        read = opened.read_text().split()
        inside += killed and bool(read)
        if not killed:
            longest_s *= 0.9
        elif not read:  # a slow machine: it had hardly begun
            longest_s *= 1.1
        assert len(read) == len({*read}), "a photo was read twice in one life"
        again = {*read} & before
        assert again <= edited, "a committed photo was indexed again"
        before = after
    assert inside >= KILLS // 4, "hardly a kill came while photos were read"
    for app in lives.life():
        assert app.index()["left"] == 0
        found = app.embeddings()
    assert {*found} == {Path(path).name for path in phone.volumes[OWN].values()}
    (tmp_path / "fresh").mkdir()
    fresh = FakePhone(tmp_path / "fresh")
    fresh.volumes = phone.volumes
    fresh.write()
    for app in Lives(java_classes, tmp_path, bundle, fresh).life():
        app.index()
        expected = app.embeddings()
    for name, embedding in expected.items():
        assert float(np.dot(embedding, found[name])) > 0.999, name


def test_a_photo_that_does_not_decode_is_read_again_when_it_or_the_system_changes(
    bundle, probe, phone
):
    phone.take("a.png", "broken.png", "z.png")
    broken = phone.folder / OWN / "broken.png"
    broken.write_bytes(b"\x89PNG and no more")
    opened = phone.folder / "opened.txt"

    def reads(firmware: int) -> bool:
        opened.write_text("")
        app = App(probe, bundle, phone, environment=f"app 1, firmware {firmware}")
        outcome = app.index()
        assert (outcome["photos"], outcome["skipped"], outcome["left"]) == (2, 1, 0)
        assert app.ask("count")["skipped"] == 1
        app.close()
        return phone.path("broken.png") in opened.read_text()

    assert [reads(firmware) for firmware in (1, 1, 2, 2)] == [True, False, True, False]
    phone.change(heat=4)
    phone.take("hot.png")
    app = App(probe, bundle, phone, environment="app 1, firmware 3")
    assert app.ask("hot")["outcome"]["left"] == 2
    assert app.ask("count")["skipped"] == 1  # a run that is stopped forgets no photo
    app.close()
    phone.change(heat=0)
    phone.delete("hot.png")
    assert not reads(2)
    os.utime(broken, (1_800_000_000, 1_800_000_000))
    assert reads(2)
