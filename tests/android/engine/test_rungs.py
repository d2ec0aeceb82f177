"""Which rung an app runs: one that ended its process is left out from then on, unless it is the
last."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TargetFacts
from mcad_mobile.engine.towers.onnx import EXACT_KERNELS, saturates
from tests.android.engine.test_search import NAMES
from tests.support.phone import App
from tests.support.probe import Probe, variant
from tests.support.tiny_bundle import two_text_towers, with_two_rungs

# A rung that ends the process. It hangs in native code until the process is killed, which is what a
# driver that aborts does.


def hanging_image_rung(bundle: Bundle, *, only_white: bool) -> Rung:
    """Runs for ever: on all photos, or on those of one colour alone: no golden one is."""
    model = onnx.load(bundle.directory / "image.onnx")
    graph = model.graph
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["sum", "sum"], ["twice"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, [1]),
        ],
    )
    compare = ["highest", "lowest"] if only_white else ["highest", "highest"]
    for node in graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = "embedding" if name == "image_embedding" else name
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["pixels"], ["highest"], keepdims=0),
            helper.make_node("ReduceMin", ["pixels"], ["lowest"], keepdims=0),
            helper.make_node("Equal", compare, ["hangs"]),
            helper.make_node("Cast", ["hangs"], ["once"], to=TensorProto.INT64),
            helper.make_node("Mul", ["once", "for_ever"], ["turns"]),
            helper.make_node("Loop", ["turns", "", "zero"], ["nothing"], body=body),
            helper.make_node("Add", ["embedding", "nothing"], ["image_embedding"]),
        ]
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2**62, np.int64), "for_ever"),
            numpy_helper.from_array(np.array([0], np.float32), "zero"),
        ]
    )
    onnx.checker.check_model(model)
    path = bundle.directory / f"hangs-{only_white}.onnx"
    onnx.save(model, path)
    rung = replace(bundle.image.rungs[0], files=(FileRecord.of(bundle.directory, path),))
    return replace(rung, precision="int8")


@pytest.fixture(params=["test", "use"])
def mortal(bundle, tmp_path, request) -> Bundle:
    """What would be an NPU's rung, in front of the one that every bundle ends in."""
    copy = Bundle.load(variant(bundle, tmp_path / "copy"))
    rung = hanging_image_rung(copy, only_white=request.param == "use")
    image = replace(copy.image, rungs=(rung, *copy.image.rungs))
    return Bundle.load(variant(copy, tmp_path / "mortal", image=image))


def die(java_classes, tmp_path, bundle, phone) -> None:
    """A process of the app that is killed while the rung does not come back."""
    process = Probe(java_classes, tmp_path)
    app = App(process, bundle, phone)
    note = app.directory / "rungs" / "trying-image.json"

    def kill() -> None:
        seen, since = None, 0.0
        while True:
            now = note.stat().st_mtime_ns if note.exists() else None
            if now != seen:
                seen, since = now, time.monotonic()
            # A rung that comes back is tested in milliseconds.
            if seen is not None and time.monotonic() - since > 1:
                process.kill()
                return
            threading.Event().wait(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises((AssertionError, BrokenPipeError)):
        app.index()
    killer.join()
    process.end()


def test_a_rung_that_kills_the_process_is_left_out_from_then_on(
    mortal, java_classes, tmp_path, probe, phone
):
    phone.paint("white.png")  # the first
    phone.take(*NAMES)
    die(java_classes, tmp_path, mortal, phone)
    app = App(probe, mortal, phone)
    assert app.index()["photos"] == len(NAMES) + 1
    image = app.ask("rungs")["image"]
    assert image["runs"] == "onnx fp32 by CPU"
    assert image["skipped"][0].startswith("DIED onnx int8 by CPU")
    assert app.ask("rungs")["text"]["runs"] == "onnx fp32 by CPU"
    app.close()
    app = App(probe, mortal, phone)  # as in the next process
    phone.take("new.png")
    app.index()
    assert app.ask("rungs")["image"]["runs"] == "onnx fp32 by CPU"
    app.close()


def test_the_user_may_have_it_tried_again(mortal, java_classes, tmp_path, probe, phone):
    phone.paint("white.png")
    die(java_classes, tmp_path, mortal, phone)
    app = App(probe, mortal, phone)
    app.ask("try_rungs_again")
    app.close()
    die(java_classes, tmp_path, mortal, phone)  # it was tried


def note_death(app: App, rung: str) -> None:
    """As if a process had died over this rung."""
    student, created = app.bundle.student, app.bundle.created
    environment = f"app 1, firmware 1 {student.sha256} {created}"
    known = {"environment": environment, "died": [rung], "suspects": []}
    (app.directory / "rungs" / "rungs.json").write_text(json.dumps(known))


def test_the_text_tower_is_tried_again_at_once(bundle, tmp_path, probe, phone):
    two = Bundle.load(variant(bundle, tmp_path / "two", text=with_two_rungs(bundle.text)))
    phone.take("a.png")
    app = App(probe, two, phone)
    app.index()
    tried = app.ask("rungs")["text"]["runs"]
    assert tried.startswith("onnx int8")
    app.close()
    note_death(app, f"text {tried}")
    app = App(probe, two, phone)
    assert app.ask("rungs")["text"]["runs"] == "onnx fp32 by CPU"
    app.ask("try_rungs_again")
    assert app.ask("rungs")["text"]["runs"] == tried
    app.close()


def test_a_death_over_one_text_tower_is_not_blamed_on_the_other(tmp_path, probe, phone):
    both = two_text_towers(tmp_path / "both")
    other = replace(both.multilingual, text=with_two_rungs(both.multilingual.text))
    changes = {"text": with_two_rungs(both.text), "multilingual": other}
    two = Bundle.load(variant(both, tmp_path / "two", **changes))
    phone.take("a.png")
    app = App(probe, two, phone)
    app.index()
    tried = app.ask("rungs")["text"]["runs"]
    app.close()
    note_death(app, f"multilingual {tried}")
    app = App(probe, two, phone)
    assert app.ask("rungs")["text"]["runs"] == tried
    app.ask("speak", language="de")
    assert app.ask("rungs")["text"]["runs"] == "onnx fp32 by CPU"
    app.close()


def test_only_the_first_use_of_a_tower_is_noted(bundle, probe, phone):
    """A note is flushed to the disk, which a search has no time for."""
    phone.take("a.png")
    app = App(probe, bundle, phone)
    app.index()
    app.ask("search", words="a dog", k=1)
    before = (app.directory / "rungs").stat().st_mtime_ns
    app.ask("search", words="a cat", k=1)
    assert (app.directory / "rungs").stat().st_mtime_ns == before
    app.close()


def test_a_run_that_embeds_nothing_leaves_the_tower_told(bundle, probe, phone):
    phone.take("a.png")
    app = App(probe, bundle, phone)
    assert [app.index()["added"] for _ in range(2)] == [1, 0]
    assert app.ask("rungs")["image"]["runs"] == "onnx fp32 by CPU"
    app.close()


def test_another_firmware_or_app_tries_it_again(bundle, tmp_path, probe, phone):
    first = replace(bundle.image.rungs[0], precision="int8")
    image = replace(bundle.image, rungs=(first, *bundle.image.rungs))
    two = Bundle.load(variant(bundle, tmp_path / "two", image=image))
    phone.take(*NAMES)
    app = App(probe, two, phone)
    app.index()
    tried = app.ask("rungs")["image"]["runs"]
    assert tried.startswith("onnx int8")
    app.close()
    notes = app.directory / "rungs"
    died = {
        "environment": f"app 1, firmware 1 {two.student.sha256} {two.created}",
        "died": [f"image {tried}"],
        "suspects": [],
    }
    for environment, runs in (("1, firmware 1", "onnx fp32"), ("1, firmware 2", "onnx int8")):
        (notes / "rungs.json").write_text(json.dumps(died))
        app = App(probe, two, phone, environment=f"app {environment}")
        phone.take(f"{environment}.png")
        app.index()
        assert app.ask("rungs")["image"]["runs"].startswith(runs)
        app.close()


def test_the_last_rung_is_tried_whatever_happened_over_it(
    bundle, java_classes, tmp_path, probe, phone
):
    """A phone that is switched off over it must not cost the app."""
    phone.take(*NAMES)
    app = App(probe, bundle, phone)
    notes = app.directory / "rungs"
    notes.mkdir(parents=True)
    environment = f"app 1, firmware 1 {bundle.student.sha256} {bundle.created}"
    for tower in ("image", "text"):
        note = {"environment": environment, "rung": f"{tower} onnx fp32 by CPU", "process": 1}
        (notes / f"trying-{tower}.json").write_text(json.dumps(note))
    assert app.index()["added"] == len(NAMES)
    assert app.ask("rungs")["image"]["runs"] == "onnx fp32 by CPU"
    assert json.loads((notes / "rungs.json").read_text())["died"] == [
        "image onnx fp32 by CPU",
        "text onnx fp32 by CPU",
    ]
    app.close()


def test_of_the_last_rung_only_the_last_way_to_run_it_is_tried_again(bundle, probe, phone):
    phone.take("a.png")
    app = App(probe, bundle, phone)
    app.index()
    app.close()
    died = {
        "environment": f"app 1, firmware 1 {bundle.student.sha256} {bundle.created}",
        "died": ["text onnx fp32 by XNNPACK, CPU"],
        "suspects": [],
    }
    (app.directory / "rungs" / "rungs.json").write_text(json.dumps(died))
    app = App(probe, bundle, phone)
    text = app.ask("rungs")["text"]
    assert text["runs"] == "onnx fp32 by CPU"
    assert [step.split(":")[0] for step in text["skipped"]] == ["DIED onnx fp32 by XNNPACK, CPU"]
    app.close()


def processes(probe, bundle, phone, ended: str) -> Iterator[App]:
    """The app, process by process. Each finds that the one before ended over the first rung, of
    which the phone tells how it `ended`."""
    app = App(probe, bundle, phone)
    phone.take("first.png")
    app.index()
    rung = app.ask("rungs")["image"]["runs"]
    assert rung.startswith("onnx int8")
    app.close()
    environment = f"app 1, firmware 1 {bundle.student.sha256} {bundle.created}"
    note = {"environment": environment, "rung": f"image {rung}", "process": 7}
    while True:
        (app.directory / "rungs" / "trying-image.json").write_text(json.dumps(note))
        app = App(probe, bundle, phone, ended=ended)
        try:
            yield app
        finally:
            app.close()


@pytest.mark.parametrize(
    ("ended", "times", "runs"),
    [
        ("FAULT", 1, "fp32"),
        ("OTHER", 1, "int8"),  # the user ended it, say
        ("OTHER", 2, "int8"),
        ("UNKNOWN", 1, "int8"),  # the phone may have been switched off
        ("UNKNOWN", 2, "fp32"),
    ],
)
def test_a_rung_is_blamed_for_deaths_of_its_own(two_rungs, probe, phone, ended, times, runs):
    lives = processes(probe, two_rungs, phone, ended)
    for _ in range(times):
        app = next(lives)
        app.ask("bundle")  # it does not come to the tower
    phone.take("last.png")
    app.index()
    assert app.ask("rungs")["image"]["runs"].split()[1] == runs
    lives.close()


def test_a_rung_that_ran_meanwhile_is_not_suspected(two_rungs, probe, phone):
    lives = processes(probe, two_rungs, phone, "UNKNOWN")
    for number in range(3):
        app = next(lives)
        phone.take(f"{number}.png")
        app.index()
        assert app.ask("rungs")["image"]["runs"].startswith("onnx int8")
    lives.close()


def test_an_npu_that_embeds_many_photos_runs_at_a_speed_that_lasts(probe):
    assert probe.ask("qnn", bulk=False)["htp_performance_mode"] == "burst"
    assert probe.ask("qnn", bulk=True)["htp_performance_mode"] == "sustained_high_performance"


def test_a_binary_that_the_npu_refused_is_not_tried_again_until_the_firmware_changes(
    bundle, tmp_path, probe, phone
):
    (tmp_path / "libQnnHtp.so").write_bytes(b"not a library")
    (rung,) = bundle.text.rungs
    text = replace(bundle.text, rungs=(replace(rung, runtime="qnn"), rung))
    npu = Bundle.load(variant(bundle, tmp_path / "npu", text=text))
    phone.take("a.png")
    found: list[str] = []
    gone = tmp_path / "gone"
    for firmware, libraries in (("1", tmp_path), ("1", gone), ("2", gone)):
        options = {"environment": f"app 1, firmware {firmware}", "libraries": libraries}
        app = App(probe, npu, phone, **options)
        app.index()
        found.append(app.ask("rungs")["text"]["skipped"][0].split(":")[0])
        app.close()
    assert found[0] == "FAILED qnn fp32 by QNN"
    assert found[1] == found[0]
    assert found[2] == "NO_LIBRARY qnn fp32 by QNN"


def test_an_app_is_told_why_the_npu_is_not_used(bundle, tmp_path, probe, phone):
    """The reason of the binary for its chip, whatever else was skipped."""
    (tmp_path / "libQnnHtp.so").write_bytes(b"not a library")
    (rung,) = bundle.text.rungs
    chips = [TargetFacts(f"chip-{name}", 1, 73, name) for name in ("SM8550", "SM8650", "SM8750")]
    rungs = (*(replace(rung, runtime="qnn", chip=chip) for chip in chips), rung)
    npu = Bundle.load(variant(bundle, tmp_path / "npu", text=replace(bundle.text, rungs=rungs)))
    phone.take("a.png")
    told = {}
    for chip in ("SM8650", "MT6989"):
        app = App(probe, npu, phone, libraries=tmp_path, chip=chip)
        app.index()
        told[chip] = app.ask("rungs")["npu_unused"]
        app.close()
    assert told == {
        "SM8650": ["text FAILED qnn fp32 for SM8650 by QNN"],
        "MT6989": ["text OTHER_CHIP qnn fp32 for SM8550 by QNN"],
    }


def test_a_torn_note_is_no_death(bundle, probe, phone):
    phone.take(*NAMES)
    app = App(probe, bundle, phone)
    notes = app.directory / "rungs"
    notes.mkdir(parents=True)
    (notes / "trying-image.json").write_text('{"environment": "app')
    (notes / "rungs.json").write_text("")
    app.index()
    assert not (notes / "trying-image.json").exists()
    app.close()


def test_an_idle_thread_of_the_runtime_does_not_spin(probe):
    for provider in ("CPU", "EXACT_CPU"):
        assert probe.ask("options", provider=provider)["session.intra_op.allow_spinning"] == "0"


def test_towers_run_with_the_kernels_that_python_runs_them_with(probe):
    for provider in ("CPU", "EXACT_CPU"):
        options = probe.ask("options", provider=provider)
        assert options["optimization.disable_specified_optimizers"] == "SkipLayerNormFusion"
        assert (EXACT_KERNELS in options.items()) == (provider == "EXACT_CPU")


def test_java_finds_this_processors_overflows_where_python_finds_them(probe):
    assert probe.ask("saturates") is saturates()
