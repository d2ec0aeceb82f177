"""Every field of bundle.json: read back as it was written, and named where it is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BundleError
from tests.support.tiny_bundle import make_tiny_bundle

Steps = tuple[Any, ...]

# Fields that a bundle.json need not have. They have a default.
OPTIONAL = {
    *("student.source", "student.preprocess", "student.licence", "student.licence_text"),
    *("target.chip", "target.npu"),
    *(
        f"{tower}.{name}"
        for tower in ("image", "text")
        for name in (
            *("rungs.npu_nodes", "rungs.parity", "rungs.notes", "golden.texts", "golden.ids"),
            *("rungs.inputs.scale", "rungs.inputs.zero_point"),
            *("rungs.outputs.scale", "rungs.outputs.zero_point"),
        )
    ),
    *("preprocess.resize_to", "preprocess.centre", "preprocess.fill"),
    *("tokenizer.pad_left", "tokenizer.attends_to_padding", "tokenizer.pool", "tokenizer.eos"),
}
# Fields that may be null. Each of them is an object or a number otherwise.
NULLABLE = (
    "parity",
    "ids",
    "licence_text",
    "soc_model",
    "htp_arch",
    "scale",
    "zero_point",
    "resize_to",
    "eos",
)
# Objects whose names are data: they have no fields.
MAPS = ("tools", "inputs")
OF_EACH_KIND: tuple[Any, ...] = (None, True, 7, "x", [], {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that holds a record of each kind, and two rungs of a tower."""
    tiny = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    (rung,) = tiny.image.rungs
    integers = replace(rung.inputs[0], dtype="int8", scale=0.1, zero_point=-128)
    lower = replace(rung, precision="int8", inputs=(integers,), npu_nodes=2, notes=("A note.",))
    full = replace(
        tiny,
        student=replace(tiny.student, licence_text=tiny.sample),
        image=replace(tiny.image, rungs=(rung, lower)),
    )
    full.save()
    return full


@pytest.fixture
def document(bundle: Bundle) -> Iterator[dict[str, Any]]:
    path = bundle.directory / MANIFEST
    written = path.read_bytes()
    found = json.loads(written)
    del found["recall"], found["precision"]  # of older versions; the report tells what they hold
    yield found
    path.write_bytes(written)


def places(part: Any, steps: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """The way to every value below a part of a document, and the value."""
    members: Any = ()
    if isinstance(part, dict):
        members = part.items()
    elif isinstance(part, list):
        members = enumerate(part)
    for step, value in members:
        yield (*steps, step), value
        yield from places(value, (*steps, step))


def spelled(steps: Steps) -> str:
    """As msgspec spells a place: $.image.rungs[0].runtime, and [...] for a key of a map."""
    place = "$"
    for before, step in zip((None, *steps), steps, strict=False):
        in_map = before in MAPS and isinstance(step, str)
        place += "[...]" if in_map else f"[{step}]" if isinstance(step, int) else f".{step}"
    return f"`{place}`"


def is_map(steps: Steps, value: Any) -> bool:
    return bool(steps) and steps[-1] in MAPS and isinstance(value, dict)


def message(
    directory: Path, document: Any, steps: Steps, change: Callable[[Any, Any], None]
) -> str:
    """Why a bundle is refused when its document is changed at a place; "" if it is read."""
    changed = copy.deepcopy(document)
    holder = changed
    for step in steps[:-1]:
        holder = holder[step]
    change(holder, steps[-1])
    (directory / MANIFEST).write_text(json.dumps(changed))
    try:
        Bundle.load(directory, verify=False)
    except BundleError as error:
        assert error.hint
        return str(error)
    return ""


def test_every_record_is_read_back_as_it_was_written(bundle: Bundle) -> None:
    assert Bundle.load(bundle.directory) == bundle


def test_a_field_that_is_gone_is_named(bundle: Bundle, document: dict[str, Any]) -> None:
    without_default = set()
    values = dict(places(document))
    for steps in values:
        if isinstance(steps[-1], int) or is_map(steps[:-1], values.get(steps[:-1])):
            continue
        refused = message(bundle.directory, document, steps, lambda holder, name: holder.pop(name))
        if ".".join(step for step in steps if isinstance(step, str)) in OPTIONAL:
            assert not refused
        elif steps == ("schema",):
            assert "names no schema" in refused
        else:
            assert f"missing required field `{steps[-1]}`" in refused
            assert len(steps) == 1 or f" - at {spelled(steps[:-1])}" in refused
            without_default.add(steps)
    assert len(without_default) > 150


def test_a_value_of_another_kind_is_named_with_its_place(
    bundle: Bundle, document: dict[str, Any]
) -> None:
    tried = 0
    for steps, value in places(document):
        for other in OF_EACH_KIND:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if type(other) is type(value) or (number and other == 7 and other is not True):
                continue
            if steps[-1] in NULLABLE and (other is None or (value is None and other == 7)):
                continue

            def put(holder: Any, step: Any, other: Any = other) -> None:
                holder[step] = other

            refused = message(bundle.directory, document, steps, put)
            place = spelled(steps)
            named = f" - at {place}"
            if place == "`$.schema`":
                named = " names no schema; " if other is None else f" has schema {other!r}; "
            assert named in refused, (place, other, refused)
            tried += 1
    assert tried > 700


def test_an_unknown_field_is_named_at_each_level(bundle: Bundle, document: dict[str, Any]) -> None:
    levels: dict[Steps, Any] = {(): document, **dict(places(document))}
    objects = [steps for steps, value in levels.items() if isinstance(value, dict)]
    assert len(objects) > 40
    for steps in objects:
        place = (*steps, "unheard_of")

        def put(holder: Any, name: Any) -> None:
            holder[name] = 1

        refused = message(bundle.directory, document, place, put)
        if is_map(steps, levels[steps]):
            assert spelled(place) in refused
        else:
            assert "unknown field `unheard_of`" in refused
            assert not steps or f" - at {spelled(steps)}" in refused
