"""An app that shrinks its code needs the keep rules that the library brings, and no other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.jvm import JSON_JVM, ONNXRUNTIME_JVM
from mcad_mobile.android.downloads import R8, fetch
from mcad_mobile.android.toolchain import JAVA, android_demo, library_classes, run
from tests.android.engine.test_words import with_coordinates
from tests.support.phone import OWN, App, FakePhone
from tests.support.probe import Probe
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader

RULES = android_demo() / "platform" / "consumer-rules.pro"
# What the app itself names: here, the probe's entry.
OWN_RULES = """
-keep class io.github.mcadmobile.desktop.Probe { public static void main(java.lang.String[]); }
"""


def shrink(classes: Path, folder: Path, rules: str) -> Path:
    """Engine, probe and ONNX Runtime as R8 leaves them, as class files for a JVM."""
    whole, written, out = folder / "whole.jar", folder / "rules.pro", folder / "shrunk.jar"
    with zipfile.ZipFile(whole, "w") as packed:
        for path in sorted(classes.rglob("*.class")):
            packed.write(path, path.relative_to(classes).as_posix())
    written.write_text(rules, "utf-8")
    library = library_classes(folder / "java.jar")
    arguments = [
        "--release",
        "--classfile",
        "--lib",
        library,
        "--lib",
        fetch(JSON_JVM),
        "--pg-conf",
        written,
    ]
    r8 = ["-Xmx1g", "-cp", fetch(R8), "com.android.tools.r8.R8"]
    run(JAVA, [*r8, *arguments, "--output", out, whole, fetch(ONNXRUNTIME_JVM)])
    return out


@pytest.mark.slow
def test_a_shrunk_app_indexes_and_searches(java_classes, tmp_path):
    shrunk = shrink(java_classes, tmp_path, RULES.read_text("utf-8") + OWN_RULES)
    names = zipfile.ZipFile(shrunk).namelist()
    assert "io/github/mcadmobile/desktop/Probe.class" in names
    assert "io/github/mcadmobile/gallery/PhotoSearch.class" not in names  # it has another name
    phone = FakePhone(tmp_path)
    phone.take("a.png", "b.png", "c.png")
    gps = {1: "N", 2: (38.0, 42.0, 36.0), 3: "W", 4: (9.0, 8.0, 24.0)}
    with_coordinates(phone.folder / OWN / "a.png", gps)
    process = Probe(shrunk, tmp_path)
    app = App(process, with_reader(make_tiny_bundle(tmp_path / "tiny")), phone)
    assert app.index()["added"] == 3
    found = app.ask("search", words="a dog on the beach", k=3)
    assert len(found["paths"]) == 3
    found = app.ask("search", words="lisbon", k=3, by="WORDS")
    assert found["paths"] == [phone.path("a.png")]
    phone.change(access=False)
    assert app.ask("state")["failure"] is None
    process.close()
