"""Bundles for several chips in one command: what they share is made once, and is the same."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers import RUNTIMES, load_tower, normalize
from mcad_mobile.engine.towers.qnn import Qnn
from mcad_mobile.errors import ExportError, TargetError
from mcad_mobile.export import export_bundle, parity
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target, find_targets
from tests.support.backends import replace_methods
from tests.support.exported import mcad, mcad_json
from tests.support.pythons import needs_litert
from tests.support.tiny_students import with_other_texts, write_open_clip

pytestmark = pytest.mark.usefixtures("traced_once")

CHIPS = ("SM8650", "SM8750", "cpu")
LOCK = threading.Lock()  # inputs are simulated on several threads


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("several") / "student")


@pytest.fixture(scope="module")
def student(checkpoint):
    return load_student(f"open_clip:local-dir:{checkpoint}")


class Watched:
    """A simulated tower that counts what it is asked, and adds `off` to what it says."""

    simulated = True

    def __init__(self, tower, counts: Counter[str], chip: str, off: float) -> None:
        self.run, self.counts, self.chip, self.off = tower, counts, chip, off

    def __call__(self, inputs):
        with LOCK:
            self.counts[self.chip] += len(next(iter(inputs.values())))
        return self.run(inputs) + self.off


def watch(monkeypatch, off: dict[str, float]) -> Counter[str]:
    """How many inputs the simulator of each chip is given, from now on."""
    counts: Counter[str] = Counter()

    class Watching(Qnn):
        def load(self, bundle, rung, threads, gpu):
            tower = super().load(bundle, rung, threads, gpu)
            chip = bundle.target.chip
            return Watched(tower, counts, chip, off.get(chip, 0.0))

    monkeypatch.setitem(RUNTIMES, "qnn", Watching())
    return counts


@pytest.fixture(scope="module")
def several(student, tmp_path_factory):
    """A bundle a chip, and what the progress said."""
    out = tmp_path_factory.mktemp("bundles")
    steps: list[tuple[str, int, int]] = []
    requests = [BundleRequest(find_target(chip), out / chip) for chip in CHIPS]
    made = export(
        student,
        requests,
        ExportOptions(samples=4, allow_low_parity=True),
        lambda step, done=0, total=0: steps.append((step, done, total)),
    )
    return {chip: first.bundle for chip, first in zip(CHIPS, made, strict=True)}, steps


@pytest.fixture(scope="module")
def one_bundle(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "bundle"
    command = ("export", "--student", f"open_clip:local-dir:{checkpoint}", "--samples", 4)
    document = mcad_json(*command, "-t", "SM8550,SM8650", "-o", out, "--allow-low-parity")
    return document, Bundle.load(out)


def test_a_bundle_of_several_chips_has_a_folder_for_each_and_shares_the_rest(one_bundle, several):
    document, bundle = one_bundle
    assert document["chips"] == ["snapdragon-8-gen-2", "snapdragon-8-gen-3"]
    for tower in (bundle.image, bundle.text):
        first, second, fallback = tower.rungs
        for rung, chip in ((first, "SM8550"), (second, "SM8650")):
            found = bundle.chip(rung)
            assert found.chip == chip
            assert {Path(file.path).parent.name for file in rung.files} == {found.id}
            assert rung.npu_nodes == rung.total_nodes
        assert fallback.runtime == "onnx"
    alone = several[0]["SM8650"]
    assert fallback == alone.text.rungs[-1]
    assert set(files(bundle)) == {record.path for record in bundle.files()}


@pytest.mark.parametrize(
    "chips", ["SM8550,SM8650", pytest.param("dimensity", marks=[pytest.mark.slow, needs_litert])]
)
def test_a_second_text_tower_has_a_ladder_of_its_own(student, one_bundle, chips, tmp_path):
    other = with_other_texts(student, tmp_path / "other")
    chip, *more = find_targets(chips)
    request = BundleRequest(chip, tmp_path / "out", more=tuple(more))
    options = ExportOptions(samples=4, allow_low_parity=True, multilingual=other)
    bundle = export(student, [request], options)[0].bundle
    spoken, texts = bundle.for_language("de"), ["a dog", "the sea at night"]
    kinds = [[(rung.runtime, rung.chip) for rung in made.text.rungs] for made in (bundle, spoken)]
    assert kinds[0] == kinds[1]
    assert spoken.student.sha256 == other.sha256 != bundle.student.sha256
    assert set(files(bundle)) == {record.path for record in bundle.files()}
    if "," in chips:
        alone, both = files(one_bundle[1]), files(bundle)
        assert alone.keys() <= both.keys()
        # Qualcomm's compiler does not write the same bytes each time.
        assert {name for name in alone if alone[name] != both[name] and "_qnn" not in name} == set()
    expected = float_embeddings(other.text, other.read(texts).inputs())
    found = np.stack([SearchEngine(spoken).embed_text(text) for text in texts])
    assert (normalize(expected) * found).sum(1).min() > 0.95


def test_a_binary_names_the_chips_of_its_architecture_and_memory_that_have_none(one_bundle):
    fits = [chip.fits for chip in one_bundle[1].chips]
    assert "SM8735" in fits[0]  # as much memory
    assert "SM7550" not in fits[0]  # too little
    assert not {"SM8550", "SM8650"} & {name for names in fits for name in names}


def test_each_rung_of_several_chips_runs_in_the_simulator_of_its_own(one_bundle, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "mcad_mobile.engine.towers.qnn.QnnTower", lambda path, *chip: asked.append(chip)
    )
    _, bundle = one_bundle
    for rung in bundle.image.rungs[:2]:
        load_tower(bundle, rung)
    assert asked == [(43, 73), (57, 75)]


def test_a_bundle_is_for_one_family(tmp_path, student):
    with pytest.raises(TargetError, match="snapdragon-8-gen-3, dimensity-9400"):
        export_bundle("SM8650,dimensity-9400", tmp_path / "out", student=student)
    assert not (tmp_path / "out").exists()


def files(bundle: Bundle) -> dict[str, bytes]:
    return {
        str(path.relative_to(bundle.directory)): path.read_bytes()
        for path in sorted(bundle.directory.rglob("*"))
        if path.is_file() and path.name != "bundle.json"
    }


def test_each_bundle_is_whole(several):
    for chip, bundle in several[0].items():
        loaded = Bundle.load(bundle.directory)
        assert loaded.target.id == find_target(chip).id
        assert [rung.runtime for rung in loaded.image.rungs] == [
            plan.runtime for plan in find_target(chip).ladder
        ]


def test_bundles_hold_the_files_that_their_json_names_and_no_others(several):
    for bundle in several[0].values():
        assert set(files(bundle)) == {record.path for record in bundle.files()}


def test_shared_files_of_bundles_are_equal_and_compiled_ones_are_not(several):
    found = {chip: files(bundle) for chip, bundle in several[0].items()}
    shared = set.intersection(*(set(names) for names in found.values()))
    assert {"token_table.bin", "tokenizer.bin", "image_onnx_int8.onnx.data"} <= shared
    for name in shared:
        assert len({files[name] for files in found.values()}) == 1, name
    binary = "image_qnn_w8a16_qnn.bin"
    assert found["SM8650"][binary] != found["SM8750"][binary]


def test_no_rung_is_made_twice(several):
    begun = [step for step in several[1] if "qnn" in step[0] or "onnx" in step[0]]
    rungs = [step for step, _, _ in begun if step.count(":") == 1]
    assert set(Counter(rungs).values()) == {1}
    assert {total for _, _, total in begun} == {len(rungs)}
    assert [done for _, done, _ in begun] == sorted(done for _, done, _ in begun)


@pytest.mark.parametrize(
    ("off", "second"), [(1e-7, 2), pytest.param(1e-3, 4, marks=pytest.mark.slow)]
)
def test_a_chip_that_computes_what_the_first_did_is_asked_about_golden_inputs_alone(
    student, tmp_path, monkeypatch, off, second
):
    counts = watch(monkeypatch, {"SM8750": off})
    requests = [BundleRequest(find_target(chip), tmp_path / chip) for chip in CHIPS[:2]]
    made = export(
        student, requests, ExportOptions(samples=4, allow_low_parity=True, simulated_inputs=4)
    )
    assert counts == {"SM8650": len(TOWERS) * 4, "SM8750": len(TOWERS) * second}
    first, other = (item.bundle for item in made)
    for name in TOWERS:
        rungs = first.tower(name).rungs[0], other.tower(name).rungs[0]
        assert [rung.parity.inputs for rung in rungs] == [4, 4]
        expected = [
            np.load(bundle.path(rung.expected))
            for bundle, rung in zip((first, other), rungs, strict=True)
        ]
        assert len(expected[1]) == 2
        assert not np.array_equal(*expected)  # each bundle has its own chip's


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["SM8650", "dimensity"])
def test_the_same_command_gives_the_same_files(checkpoint, chip, tmp_path):
    made = []
    for name in ("one", "other"):
        out = tmp_path / name
        wanted = ("--samples", 4, "--allow-low-parity", "--out", out)
        mcad("export", "-t", chip, "--student", f"open_clip:local-dir:{checkpoint}", *wanted)
        made.append(Bundle.load(out))
    first, other = made
    assert files(first) == files(other)
    assert replace(first, created="", directory=other.directory) == replace(other, created="")


def test_a_bundle_that_is_done_stays_when_the_next_fails(student, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ExportError("the chip is not known", "try another")

    replace_methods(monkeypatch, "qnn", build=fails)
    requests = [BundleRequest(find_target(chip), tmp_path / chip) for chip in ("cpu", "SM8650")]
    with pytest.raises(ExportError, match="the chip is not known"):
        export(student, requests, ExportOptions(samples=4, allow_low_parity=True))
    Bundle.load(tmp_path / "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["cpu"]


def test_python_is_given_the_bundle_and_what_is_doubtful_of_it_as_warnings(
    student, tmp_path, monkeypatch
):
    monkeypatch.setattr(parity, "WARN_BELOW", 1.1)
    out = tmp_path / "bundle"
    with pytest.warns(UserWarning, match="differs too much from the float student"):
        bundle = export_bundle("cpu", str(out), student=student, samples=4, allow_low_parity=True)
    assert (bundle.directory, bundle.target.id) == (out, "cpu")
    assert Bundle.load(out).student == bundle.student
    assert bundle.student.sha256 == student.sha256


@pytest.mark.slow
@needs_litert
def test_several_targets_give_a_folder_of_bundles(checkpoint, packaged_pairs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "images").symlink_to(packaged_pairs / "images")
    noted = json.loads((packaged_pairs / "dataset_packaged.json").read_text())
    noted["images"] = noted["images"][:4]
    for photo in noted["images"]:
        photo["split"] = "test"
    (data / "dataset_test.json").write_text(json.dumps(noted))
    out = tmp_path / "out"
    wanted = ("-t", "cpu", "-t", "dimensity", "-t", "cpu", "--samples", 4, "--allow-low-parity")
    student = f"open_clip:local-dir:{checkpoint}"
    documents = mcad_json("export", *wanted, "--student", student, "--data", data, "--out", out)
    assert [document["target"] for document in documents] == ["cpu", "dimensity-9400"]
    for document in documents:
        bundle = Bundle.load(out / document["target"])
        assert document["student"] == bundle.student.name
        assert set(document["towers"]) == set(TOWERS)
        assert document["recall"]["float"]["photos"] == len(noted["images"])
        assert 0 <= document["recall"]["exported"]["mean_recall"] <= 100
    # A folder of bundles is none itself, and a bundle is no place for others.
    assert "No bundle" in mcad("eval", "--data", data, "--bundle", out, "--split", "test", code=1)
    message = mcad("export", *wanted, "--out", out / "cpu", code=1)
    assert "is a bundle, but several bundles are to be written" in message


@pytest.mark.parametrize("wrong", [(), ("--all", "-t", "cpu")])
def test_a_target_or_all_of_them_is_asked_for(wrong, tmp_path):
    message = mcad("export", *wrong, "--out", tmp_path / "out", code=2)
    assert "--target CHIP" in message


@pytest.mark.slow
def test_a_snapdragon_takes_8_bit_activations_where_they_are_asked_for(student, tmp_path):
    request = BundleRequest(
        find_target("SM8750"), tmp_path / "b", precisions={"image": "w8a8", "text": "w8a8"}
    )
    (exported,) = export(
        student, [request], ExportOptions(samples=4, allow_low_parity=True, simulated_inputs=2)
    )
    for name in TOWERS:
        first, second = exported.bundle.tower(name).rungs
        assert (first.runtime, first.precision) == ("qnn", "w8a8")
        assert first.npu_nodes == first.total_nodes > 0
        assert first.parity is not None
        assert first.parity.cosine_mean > 0.97
        assert (second.runtime, second.precision) == ("onnx", "int8")
