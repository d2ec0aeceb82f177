"""Without an extra, a verb that needs it names the pip command, before any work is done."""

from __future__ import annotations

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import install_line
from tests.support.processes import run_python
from tests.support.variants import first_of

RUN = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))  # None there makes an import fail
from mcad_mobile.cli import main
sys.argv = {words!r}
main()
"""


def run_without(missing, *arguments):
    words = ["mcad-mobile", *map(str, arguments)]
    return run_python("-c", RUN.format(missing=missing, words=words))


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    first_of(
        run=7,
        values=[
            ("torch", "export", ("export", "-t", "cpu", "-o", "OUT")),
            ("onnxruntime_qnn", "snapdragon", ("export", "-t", "snapdragon", "-o", "OUT")),
            ("jinja2", "report", ("bench", "-b", "BUNDLE", "--report", "OUT/r.html")),
            ("starlette", "serve", ("serve", "-b", "BUNDLE")),
            ("pyarrow", "embed", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT")),
            ("ray", "ray", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT", "--ray", "auto")),
            ("cyclonedx", "android", ("app", "-b", "BUNDLE", "-o", "OUT/demo.apk")),
            ("onnx", "export", ("export", "-t", "cpu", "-o", "OUT")),
            ("torch", "export", ("eval", "--data", "PAIRS", "--split", "val")),
            ("torch", "distill", ("distill", "--data", "PAIRS", "--out", "OUT")),
            ("uvicorn", "serve", ("serve", "-b", "BUNDLE")),
            ("qai_hub", "aihub", ("bench", "-b", "BUNDLE", "--device", "aihub:Samsung Galaxy S25")),
            ("fsspec", "embed", ("embed", "PHOTOS", "-b", "BUNDLE", "-o", "OUT")),
            ("cyclonedx", "android", ("library", "-b", "BUNDLE", "-o", "OUT/search.aar")),
            ("pyarrow", "embed", ("index", "--from", "OUT", "-b", "BUNDLE")),
            (
                "onnxruntime_qnn",
                "snapdragon",
                ("index", "PHOTOS", "-b", "BUNDLE", "--runtime", "qnn"),
            ),
        ],
    ),
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
    assert install_line(extra) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "snapdragn"), "'snapdragn'"),
        (("--student", "open_clip:MobileCLIP2-S9:x"), "MobileCLIP2-S0"),
        (("--student", "opn_clip:RN50"), "Nearest: open_clip"),
        (("--student", "open_clip:local-dir:/nowhere"), "open_clip_config.json"),
        (("--student", "hf:./no/such"), "no folder ./no/such"),
        (("--student", "no-such-folder"), "No student at no-such-folder"),
        (("--calibration", "no-such-folder"), "No folder at no-such-folder"),
        (("--data", "no-such-folder"), "no-such-folder"),
        (("--out", "OTHER"), "is not a bundle"),
    ],
)
def test_a_wrong_name_or_folder_is_told_before_torch_is_imported(tmp_path, arguments, message):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.odt").touch()
    resolved = [str(other) if part == "OTHER" else part for part in arguments]
    place = ("--target", "cpu", "--out", tmp_path / "out")
    done = run_without(["torch"], "export", *place, *resolved)
    assert done.returncode == 1, done.stderr
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
