"""Without an extra, a verb that needs it names the pip command, before any work is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos

RUN = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))  # None there makes an import fail
from mcad_mobile.cli import main
sys.argv = ["mcad-mobile", *{arguments!r}]
main()
"""


def run_without(missing, *arguments):
    program = RUN.format(missing=missing, arguments=[str(argument) for argument in arguments])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [
        ("torch", "export", ("export", "-t", "cpu", "-o", "OUT")),
        ("onnx", "export", ("export", "-t", "cpu", "-o", "OUT")),
        ("onnxruntime_qnn", "snapdragon", ("export", "-t", "snapdragon", "-o", "OUT")),
        ("torch", "export", ("eval", "--data", "PAIRS", "--split", "val")),
        ("torch", "distill", ("distill", "--data", "PAIRS", "--out", "OUT")),
        ("matplotlib", "report", ("bench", "-b", "BUNDLE", "--report", "OUT/r.html")),
        ("jinja2", "report", ("bench", "-b", "BUNDLE", "--report", "OUT/r.html")),
        ("starlette", "serve", ("serve", "-b", "BUNDLE")),
        ("uvicorn", "serve", ("serve", "-b", "BUNDLE")),
        ("qai_hub", "aihub", ("bench", "-b", "BUNDLE", "--device", "aihub:Samsung Galaxy S25")),
        ("pyarrow", "embed", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT")),
        ("fsspec", "embed", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT")),
        ("ray", "ray", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT", "--ray", "auto")),
        ("cyclonedx", "android", ("app", "-b", "BUNDLE", "-o", "OUT/demo.apk")),
        ("cyclonedx", "android", ("library", "-b", "BUNDLE", "-o", "OUT/search.aar")),
        ("pyarrow", "embed", ("index", "--from", "OUT", "-b", "BUNDLE")),
        ("onnxruntime_qnn", "snapdragon", ("index", "PHOTOS", "-b", "BUNDLE", "--runtime", "qnn")),
    ],
)
def test_the_error_names_the_pip_command(
    snapdragon, packaged_pairs, tmp_path, missing, extra, arguments
):
    places = {
        "OUT": str(tmp_path / "out"),
        "PAIRS": str(packaged_pairs),
        "BUNDLE": str(snapdragon.directory),
        "PHOTOS": str(packaged_photos()[0].parent),
    }
    resolved = [places.get(part, part) for part in arguments]
    resolved = [part.replace("OUT/", f"{places['OUT']}/") for part in resolved]
    if arguments[0] == "index":
        resolved += ["--index", str(tmp_path / "index")]
    done = run_without([missing], *resolved)
    assert done.returncode == 1, done.stderr
    assert f"pip install 'mcad-mobile[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_doctor_says_how_to_get_what_is_missing():
    done = run_without([], "doctor", "--json")
    assert '"how_to_get": "pip install \'mcad-mobile[snapdragon]\'"' in done.stdout
