"""A whole bundle with random towers, small enough to build in every test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.engine.bundle import (
    MANIFEST,
    Bundle,
    FileRecord,
    Golden,
    Parity,
    Rung,
    StudentFacts,
    TableRecord,
    TargetFacts,
    TensorSpec,
    TextFacts,
    Tower,
)
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.token_rows import TokenTable, write_token_table
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.engine.towers import normalize
from mcad_mobile.students.tokenizers.trained import WordPieceConfig

SIZE = 32
LENGTH = 16
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TEXTS = (
    "a dog on the beach",
    "two children playing football in the park",
    "red car in front of a house",
    "sunset over the sea",
)
WORDS = """
a an the of in on at to and with for from by near over under between behind beside through into
is are was be has have his her their its my your our this that these those there it he she they
who where while as up down out off around along across against one two three four five six many
some several few small large big little old young new long short tall high low
black white red blue green yellow brown orange pink purple grey gray golden dark bright colored
man woman men women boy girl child children kid kids baby people person friend friends family
brother sister mother father grandma player players crowd group couple team worker chef rider
dog dogs cat cats bird birds horse horses cow sheep fish duck elephant bear zebra giraffe animal
beach sea ocean lake river mountain mountains hill forest tree trees flower flowers grass field
garden park sand snow ice rain sky cloud clouds sun sunset sunrise moon star night day morning
winter summer water wave waves rock rocks stone fire smoke
city street road bridge house building tower church castle room kitchen bedroom bathroom office
window door wall floor roof table chair bench bed sofa desk lamp shelf mirror stairs fence
car cars bus truck train bicycle bike motorbike motorcycle boat ship airplane plane station
airport wheel wing traffic light lights sign
food pizza cake bread fruit apple banana vegetables soup noodles pasta rice salad sandwich
coffee tea wine beer bottle glass cup plate bowl fork knife spoon birthday candles dinner lunch
shirt dress suit hat coat jacket shoes umbrella bag glasses tie helmet uniform
phone laptop computer keyboard screen screenshot map book paper receipt passport whiteboard
camera photo picture drawing painting toy ball kite skateboard surfboard skis frisbee racket bat
football baseball tennis soccer basketball game match concert stage wedding party market festival
playing running walking standing sitting lying sleeping jumping riding skiing surfing swimming
holding eating drinking cooking reading writing talking laughing smiling looking watching dancing
singing throwing catching climbing flying driving working building cutting wearing front top side
back left right middle view inside outside next together
"""
PIECES = (*(chr(c) for c in range(ord("a"), ord("z") + 1)), *"0123456789.,!?'-")


def make_tiny_bundle(directory: Path, dim: int = 64, seed: int = 7) -> Bundle:
    """Write a bundle with one ONNX rung per tower to `directory` and return it.

    Image tower: "pixels" [1, 3, 32, 32] float32 -> "image_embedding" [1, dim]. Text tower:
    "token_rows" [1, 16, dim], "attention_mask" [1, 16], "pooling" [1, 16], all float32 ->
    "text_embedding" [1, dim].
    """
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    vocabulary = _vocabulary()
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    words = WordPieceConfig(
        file="vocab.txt",
        length=LENGTH,
        pad=0,
        specials={name: number for number, name in enumerate(SPECIALS)},
    )
    spec, table = words.compiled(directory)
    (directory / "tokenizer.bin").write_bytes(table)
    (directory / "vocab.txt").unlink()
    read = [Tokenizer(spec, table)(text) for text in TEXTS]
    ids, mask, pooling = (
        np.stack([getattr(tokens, part) for tokens in read]) for part in ("ids", "mask", "pooling")
    )
    pixels = random.uniform(-1, 1, (4, 3, SIZE, SIZE)).astype(np.float32)
    image_weight = _normal(random, 3 * SIZE * SIZE, dim)
    table_values, text_weight = _normal(random, len(vocabulary), dim), _normal(random, dim, dim)
    write_token_table(directory / "token_table.bin", table_values, 16)
    rows = TokenTable(directory / "token_table.bin", len(vocabulary), dim, 16)(ids)

    _save_image_tower(directory / "image.onnx", image_weight)
    _save_text_tower(directory / "text.onnx", text_weight)
    images = pixels.reshape(len(pixels), -1) @ image_weight
    texts = np.einsum("bl,bld->bd", pooling * mask, rows) @ text_weight
    sample = np.random.default_rng(8).normal(size=(256, dim)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)

    image_golden = Golden(
        inputs={"pixels": _array(directory, "golden-pixels.npy", pixels)},
        embeddings=_array(directory, "golden-images.npy", images),
    )
    text_golden = Golden(
        inputs={
            "token_rows": _array(directory, "golden-rows.npy", rows),
            "attention_mask": _array(directory, "golden-mask.npy", mask),
            "pooling": _array(directory, "golden-pooling.npy", pooling),
        },
        embeddings=_array(directory, "golden-texts.npy", texts),
        texts=TEXTS,
        ids=_array(directory, "golden-ids.npy", ids),
    )
    bundle = Bundle(
        directory=directory,
        name="tiny",
        created="2025-01-01T00:00:00+00:00",
        student=StudentFacts("tiny", "0" * 64, "5" * 64, "random weights", licence="MIT"),
        target=TargetFacts("cpu", None, None),
        dim=dim,
        image=Tower(
            rungs=(
                _rung(
                    directory,
                    "image.onnx",
                    (TensorSpec("pixels", "float32", (1, 3, SIZE, SIZE), "NCHW"),),
                    TensorSpec("image_embedding", "float32", (1, dim), "ND"),
                    image_golden.embeddings,
                ),
            ),
            golden=image_golden,
        ),
        text=Tower(
            rungs=(
                _rung(
                    directory,
                    "text.onnx",
                    (
                        TensorSpec("token_rows", "float32", (1, LENGTH, dim), "NLW"),
                        TensorSpec("attention_mask", "float32", (1, LENGTH), "NL"),
                        TensorSpec("pooling", "float32", (1, LENGTH), "NL"),
                    ),
                    TensorSpec("text_embedding", "float32", (1, dim), "ND"),
                    text_golden.embeddings,
                ),
            ),
            golden=text_golden,
        ),
        preprocess=Preprocess(
            size=SIZE,
            resize="squash",
            interpolation="bilinear",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        tokenizer=spec,
        tokenizer_file=FileRecord.of(directory, directory / "tokenizer.bin"),
        token_table=TableRecord(
            FileRecord.of(directory, directory / "token_table.bin"), len(vocabulary), dim, 16
        ),
        sample=_array(directory, "sample.npy", sample),
        tools={"onnx": onnx.__version__},
    )
    bundle.save()
    return bundle


def with_two_rungs(tower: Tower) -> Tower:
    """The first rung is what may be an NPU's; a process may die over it."""
    return replace(tower, rungs=(replace(tower.rungs[0], precision="int8"), *tower.rungs))


def off_by(bundle: Bundle, folder: Path, cosine: float, parity: float | None) -> Rung:
    """The image rung, whose file in `folder` says that it gives embeddings of this cosine to what
    it gives, and that quantization cost `parity`."""
    rung = bundle.image.rungs[0]
    exact = normalize(np.load(bundle.path(rung.expected)))
    across = np.roll(exact, 1, axis=1)
    across -= (across * exact).sum(1, keepdims=True) * exact
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    path = folder / "off.npy"
    np.save(path, (cosine * exact + np.sqrt(1 - cosine**2) * across).astype(np.float32))
    found = None if parity is None else Parity(2, parity, parity)
    return replace(rung, precision="int8", expected=FileRecord.of(folder, path), parity=found)


# Cosine to what the file says, parity, and whether the rung is taken.
AGREEMENTS = (
    (0.9985, None, False),
    (0.9995, None, True),
    (0.9985, 0.9999, False),
    (0.9985, 0.997, True),
    (0.9965, 0.997, False),
    (0.945, 0.8, False),
    (0.955, 0.8, True),
)


def text_rung_that_fails(bundle: Bundle) -> Rung:
    """Return a text tower that loads, then fails on every input: a Reshape of the whole mask to the
    number of its tokens."""
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "last"], ["count"], keepdims=0),
        helper.make_node("Cast", ["count"], ["shape"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["attention_mask", "shape"], ["text_embedding"]),
    ]
    return _odd_rung(bundle, "fails.onnx", nodes, TensorProto.FLOAT)


def text_rung_of_integers(bundle: Bundle) -> Rung:
    """Return a text tower that loads and runs, but gives integers, not an embedding."""
    nodes = [helper.make_node("Cast", ["pooling"], ["text_embedding"], to=TensorProto.INT32)]
    return _odd_rung(bundle, "integers.onnx", nodes, TensorProto.INT32)


def text_rung_of_infinities(bundle: Bundle) -> Rung:
    """Return a text tower that runs, and divides by 0."""
    nodes = [
        helper.make_node("Sub", ["token_rows", "token_rows"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros", "one"], ["zero"], keepdims=0),
        helper.make_node("Reciprocal", ["zero"], ["text_embedding"]),
    ]
    return _odd_rung(bundle, "infinities.onnx", nodes, TensorProto.FLOAT)


def _odd_rung(bundle: Bundle, file: str, nodes: list[onnx.NodeProto], kind: int) -> Rung:
    rung, path = bundle.text.rungs[0], bundle.directory / file
    output = helper.make_tensor_value_info("text_embedding", kind, None)
    axes = {"last": -1, "one": 1}
    values = [numpy_helper.from_array(np.array([axis]), name) for name, axis in axes.items()]
    graph = helper.make_graph(nodes, path.stem, _text_inputs(bundle.dim), [output], values)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path
    )
    files = (FileRecord.of(bundle.directory, path),)
    return replace(rung, files=files, precision="w8a8", total_nodes=len(nodes))


def _text_inputs(width: int) -> list[onnx.ValueInfoProto]:
    shapes = {
        "token_rows": [1, LENGTH, width],
        "attention_mask": [1, LENGTH],
        "pooling": [1, LENGTH],
    }
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]


def _vocabulary() -> list[str]:
    """Return words, single characters, and characters that continue a word, as in BERT."""
    continued = [f"##{piece}" for piece in PIECES]
    return list(dict.fromkeys((*SPECIALS, *WORDS.split(), *PIECES, *continued)))


def _normal(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    return (random.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)


def _array(directory: Path, name: str, values: NDArray[np.generic]) -> FileRecord:
    np.save(directory / name, values)
    return FileRecord.of(directory, directory / name)


def _rung(
    directory: Path,
    file: str,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    expected: FileRecord,
) -> Rung:
    model = onnx.load(directory / file)
    return Rung(
        runtime="onnx",
        precision="fp32",
        files=(FileRecord.of(directory, directory / file),),
        inputs=inputs,
        outputs=(output,),
        total_nodes=len(model.graph.node),
        expected=expected,
        parity=Parity(inputs=4, cosine_mean=1.0, cosine_min=1.0),
    )


def _save_image_tower(path: Path, weight: NDArray[np.float32]) -> None:
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weight"], ["image_embedding"]),
    ]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIZE, SIZE])]
    _save_model(path, nodes, inputs, "image_embedding", {"weight": weight})


def _save_text_tower(path: Path, weight: NDArray[np.float32]) -> None:
    """Write a tower that sums the rows by their masked pooling weights, then maps them linearly."""
    nodes = [
        helper.make_node("Mul", ["attention_mask", "pooling"], ["weights"]),
        helper.make_node("Unsqueeze", ["weights", "middle"], ["row"]),
        helper.make_node("MatMul", ["row", "token_rows"], ["mean_row"]),
        helper.make_node("Squeeze", ["mean_row", "middle"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weight"], ["text_embedding"]),
    ]
    constants = {"weight": weight, "middle": np.array([1], np.int64)}
    _save_model(path, nodes, _text_inputs(len(weight)), "text_embedding", constants)


def _save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: str,
    constants: dict[str, NDArray[np.generic]],
) -> None:
    dim = constants["weight"].shape[1]
    graph = helper.make_graph(
        nodes,
        path.stem,
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, dim])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def other_text_tower(bundle: Bundle, directory: Path) -> Bundle:
    """Return a bundle with `bundle`'s image tower and another text tower, its table in 4 bits."""
    made = make_tiny_bundle(directory, dim=bundle.dim, seed=9)
    image = bundle.image
    records = [*image.golden.inputs.values(), image.golden.embeddings]
    for record in records + [file for rung in image.rungs for file in (*rung.files, rung.expected)]:
        shutil.copyfile(bundle.path(record), directory / record.path)
    table = made.token_table
    path = made.path(table.file)
    rows = TokenTable(path, table.tokens, table.width, table.bits)(np.arange(table.tokens))
    write_token_table(path, rows, 4)
    changed = replace(
        made,
        image=image,
        student=replace(bundle.student, name="tiny-m", sha256="6" * 64),
        token_table=replace(table, file=FileRecord.of(directory, path), bits=4),
    )
    changed.save()
    return Bundle.load(directory)


def two_text_towers(directory: Path) -> Bundle:
    """Return a bundle with a multilingual text tower, that of `other_text_tower`, in a folder."""
    bundle, folder = make_tiny_bundle(directory), "multilingual"
    other_text_tower(bundle, directory / folder)

    def move(fields: dict[str, Any]) -> dict[str, Any]:
        return fields | {"path": f"{folder}/{fields['path']}"} if "path" in fields else fields

    own = json.loads((directory / folder / MANIFEST).read_text("utf-8"), object_hook=move)
    (directory / folder / MANIFEST).unlink()
    both = json.loads((directory / MANIFEST).read_text("utf-8"))
    both[folder] = {name: own[name] for name in TextFacts.__struct_fields__}
    (directory / MANIFEST).write_text(json.dumps(both), "utf-8")
    Bundle.load(directory).save()
    return Bundle.load(directory)
