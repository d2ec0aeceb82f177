"""A student that cannot be had says what is wrong, with which value, and what to do next."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mcad_mobile.errors import MissingExtra, StudentError, install_line
from mcad_mobile.students import hub
from mcad_mobile.students import open_clip as students
from mcad_mobile.students.hub import loading
from mcad_mobile.students.load import load_student
from mcad_mobile.students.published import RowTower, TextLayers, read_ids
from mcad_mobile.students.student import TextSpec
from mcad_mobile.students.transformers import REFUSED, WEIGHTS
from tests.support.paths import ROOT
from tests.support.tiny_students import (
    edit,
    sentences_tokenizer,
    spread,
    write_config,
    write_hf,
    write_named,
    write_open_clip,
)

SMALLEST = "ViT-S-32-alt"  # of all that open_clip has by name


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return write_open_clip(tmp_path_factory.mktemp("vit") / "vit")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_route(monkeypatch):
    def unreachable(address, timeout):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.delenv("https_proxy", raising=False)


def refused(spec, *patterns):
    with pytest.raises(StudentError) as caught:
        load_student(spec)
    message = str(caught.value)
    assert caught.value.hint
    for pattern in patterns:
        assert pattern in message, message
    return message


def test_an_unknown_name_lists_the_nearest():
    refused("open_clip:MobileCLIP2-S9:x", "MobileCLIP2-S9", "MobileCLIP2-S0")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vitb32.pt", "open_clip:NAME:{}"),
        ("image.onnx", "onnx:IMAGE.onnx,TEXT.onnx"),
        ("image.tflite", "litert:IMAGE.tflite,TEXT.tflite"),
        ("notes.txt", "Give the folder"),
    ],
)
def test_a_file_is_no_student_and_its_kind_decides_the_hint(tmp_path, name, hint):
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(StudentError) as caught:
        load_student(str(tmp_path / name))
    assert str(tmp_path / name) in caught.value.message
    assert "no such folder" not in caught.value.message
    assert hint.format(tmp_path / name) in caught.value.hint


def test_an_unknown_checkpoint_lists_those_that_are_published():
    refused("open_clip:ViT-B-32:laion2b_e17", "laion2b_e17", "laion2b_e16")
    refused("open_clip:ViT-B-32:/nowhere/weights.pt", "/nowhere/weights.pt")


def test_a_name_with_many_checkpoints_asks_which():
    refused("open_clip:ViT-B-32", "ViT-B-32 does not say which weights", "laion2b_s34b_b79k")


@pytest.mark.parametrize(
    ("spec", "repository"),
    [
        ("open_clip:MobileCLIP2-S0", "timm/MobileCLIP2-S0-OpenCLIP"),
        ("open_clip:hf-hub:timm/some-clip", "timm/some-clip"),
        ("hf:openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
    ],
)
def test_a_published_name_without_a_network_says_how_to_get_it(no_route, spec, repository):
    refused(spec, "cannot be reached", f"hf download {repository}")


def test_offline_by_choice_is_not_asked_twice(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused("hf:openai/clip-vit-base-patch32", "HF_HUB_OFFLINE", "hf download")


@pytest.mark.slow
def test_a_hub_that_accepts_and_never_answers_is_given_up_on(socket_enabled, tmp_path):
    """In a process of its own, whose sockets are not guarded."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = subprocess.run(
            [
                sys.executable,
                "-c",
                "from mcad_mobile.students.load import load_student\n"
                "load_student('hf:openai/clip-vit-base-patch32')",
            ],
            env=os.environ
            | {
                "HF_ENDPOINT": f"http://127.0.0.1:{port}",
                "HF_HOME": str(tmp_path),
                "no_proxy": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert "hf download openai/clip-vit-base-patch32" in found.stderr


def test_a_folder_that_is_not_there_is_not_looked_for_on_a_hub():
    refused("hf:./models/mine", "no folder ./models/mine")


def test_weights_of_another_architecture_name_the_keys(tmp_path):
    path = write_named(tmp_path, SMALLEST)
    weights = load_file(path)
    weights["visual.extra"] = weights.pop("visual.proj")
    save_file(weights, path)
    message = refused(f"open_clip:{SMALLEST}:{path}", "Missing key", '"visual.proj"')
    assert '"visual.extra"' in message
    save_file(weights | {"ln_final.weight": torch.ones(3)}, path)
    refused(f"open_clip:{SMALLEST}:{path}", "size mismatch for ln_final.weight")


@pytest.mark.parametrize(
    ("name", "given", "own"),
    [("positional_embedding", 64, 77), ("visual.positional_embedding", 26, 17)],
)
def test_positions_of_another_length_are_not_stretched(vit, tmp_path, name, given, own):
    folder = tmp_path / "longer"
    folder.mkdir()
    weights = load_file(vit / "open_clip_model.safetensors")
    weights[name] = torch.randn(given, 64)
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text((vit / "open_clip_config.json").read_text())
    refused(f"open_clip:local-dir:{folder}", f"{name} of [{given}, 64]", f"[{own}, 64]")


def test_a_snapshot_without_weights_is_no_student(no_route, tmp_path):
    folder = tmp_path / "cache" / "models--org--clip"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(json.dumps({"model_type": "clip"}))
    refused("hf:org/clip", "cannot be reached", "hf download org/clip")


def test_weights_are_fetched_only_for_a_student_that_starts_from_them(no_route, vit, tmp_path):
    folder = tmp_path / "cache" / "models--org--clip"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    shutil.copytree(
        vit, folder / "snapshots" / "abc", ignore=lambda *_: ["open_clip_model.safetensors"]
    )
    anew = students.find_checkpoint(open_clip, "hf-hub:org/clip", from_scratch=True)
    assert anew.weights is None and anew.config
    refused("open_clip:hf-hub:org/clip", "hf download org/clip")
    shutil.copy(vit / "open_clip_model.safetensors", folder / "snapshots" / "abc")
    found = students.find_checkpoint(open_clip, "hf-hub:org/clip")
    assert found.weights == folder / "snapshots" / "abc" / "open_clip_model.safetensors"


@pytest.mark.parametrize(
    ("endpoint", "proxies", "asked"),
    [
        ("https://hub.test", {}, [("hub.test", 443)]),
        ("http://hub.test", {"ftp": "x"}, [("hub.test", 80)]),
        ("http://hub.test:8080", {}, [("hub.test", 8080)]),
        ("https://hub.test", {"https": "x"}, []),
        ("https://hub.test", {"all": "x"}, []),
    ],
)
def test_of_each_group_of_files_the_first_that_a_hub_has_is_fetched(
    monkeypatch, tmp_path, endpoint, proxies, asked
):
    """Behind a proxy nothing but the client connects."""
    connected, fetched = [], []

    def connect(address, timeout):
        connected.append(address)
        return io.BytesIO()

    def download(name, local_files_only=False, allow_patterns=()):
        if local_files_only:
            raise OSError("nothing is cached")
        fetched.append((name, {*allow_patterns}))
        return str(tmp_path)

    class Api:
        def model_info(self, name, timeout):
            assert timeout < 60  # without one the client waits forever
            names = ("config.json", "pytorch_model.bin", "model-1-of-2.safetensors")
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in names])

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(socket, "create_connection", connect)
    for scheme in ("http", "https", "all", "ftp"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            monkeypatch.delenv(name, raising=False)
    for scheme, proxy in proxies.items():
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
    assert hub.find_folder("org/clip", ["config.json"], WEIGHTS, ["absent.txt"]) == tmp_path
    ((name, patterns),) = fetched
    assert (name, connected) == ("org/clip", asked)
    facts = {"*.json", "*.txt", "*.model", "README.md"}
    facts |= {"LICENSE*", "LICENCE*", "COPYING*", "NOTICE*"}
    assert patterns == {"config.json", "model-*.safetensors", "absent.txt", *facts}


def test_a_library_that_a_student_asks_for_is_a_missing_extra(vit, monkeypatch):
    def missing(*arguments, **options):
        raise ImportError("it requires the SentencePiece library, which was not found")

    monkeypatch.setattr(open_clip, "create_model", missing)
    with pytest.raises(MissingExtra, match="SentencePiece") as caught:
        load_student(f"open_clip:local-dir:{vit}")
    assert install_line("students") in caught.value.hint
    with pytest.raises(MissingExtra, match="SentencePiece"), loading("clip", "CLIPModel"):
        missing()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "weights.pt")
    refused(f"open_clip:{SMALLEST}:weights.pt", "would run code")
    assert not (tmp_path / "trap").exists()


def test_weights_that_are_cut_off_are_an_error(vit, tmp_path):
    whole = (vit / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(f"open_clip:{SMALLEST}:{tmp_path / 'half.safetensors'}", "cannot be loaded")
    folder = write_hf(tmp_path / "clip", "clip")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(f"hf:{folder}", "cannot be loaded as CLIPModel")


def test_weights_that_are_missing_are_named(tmp_path):
    folder = write_hf(tmp_path / "clip", "clip")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(f"hf:{folder}", "lacks 1 weights", "text_projection.weight")


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        *[("siglip2", "lists of patches"), ("blip", "together"), ("bert", "no rewrite")],
        ("embedding_gemma2", "vision tower embeds no photo by itself"),
        ("jina_clip", "code that comes with the checkpoint"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_with_the_reason(tmp_path, model_type, why):
    code = {"AutoConfig": "org/code--configuration.Config"}  # as in jina-clip's
    config = {"model_type": model_type, "auto_map": code}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refused(f"hf:{tmp_path}", f"is a {model_type} model", why)
    assert "trust_remote_code" not in error


def test_code_of_a_checkpoints_own_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "trap.Config"}})
    )
    (tmp_path / "trap.py").write_text("raise SystemExit('ran')")
    refused(f"hf:{tmp_path}", "code of their own are not run")


def test_the_page_of_models_gives_the_reasons_of_the_errors(tmp_path):
    page = (ROOT / "docs/models.md").read_text("utf-8")
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"not read")
    names = {"coca_ViT-B-32": "CoCa", "xlm-roberta-base-ViT-B-32": "(xlm-roberta-base)"}
    errors = [refused(f"open_clip:{name}:{weights}", why) for name, why in names.items()]
    assert not [error for error in errors if "MobileCLIP" in error], "which is for research only"
    folder = write_open_clip(tmp_path / "vit")
    edit(folder / "open_clip_config.json", "model_cfg", "text_cfg", "pool_type", value="none")
    errors.append(refused(f"open_clip:local-dir:{folder}"))
    for model_type in REFUSED:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        errors.append(refused(f"hf:{tmp_path}"))
    for error in errors:
        reason = error.partition("cannot be exported: ")[2].partition(".\n")[0]
        assert f" | {reason.removesuffix(' (xlm-roberta-base)')} |" in page


def test_a_folder_of_open_clip_without_its_architecture_is_refused(tmp_path):
    folder = write_open_clip(tmp_path / "vit")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    refused(f"open_clip:local-dir:{folder}", "has no model_cfg")


def test_a_model_of_open_clip_asked_for_as_transformers_is_pointed_there(vit):
    refused(f"hf:{vit}", "open_clip:hf-hub:")


def test_towers_of_different_width_are_an_error(tmp_path):
    tokenizer = sentences_tokenizer(tmp_path, 300)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    tower |= {"num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config=tower | {"vocab_size": len(tokenizer), "projection_size": 48},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
    )
    model = transformers.SiglipModel(config)
    processor = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    for part in (model, processor, tokenizer):
        part.save_pretrained(tmp_path)
    refused(f"hf:{tmp_path}", "[1, 32]", "[1, 48]")


def test_a_text_tower_that_pools_at_another_token_is_an_error(tmp_path):
    folder = write_hf(tmp_path / "clip", "clip")
    edit(folder / "config.json", "text_config", "eos_token_id", value=7)
    refused(f"hf:{folder}", "pools at token 7", "tokenizer ends a text with")


def test_a_siglip_without_a_pooling_head_is_an_error(tmp_path):
    folder = write_hf(tmp_path / "siglip", "siglip")
    edit(folder / "config.json", "vision_config", "vision_use_head", value=False)
    refused(f"hf:{folder}", "no pooling head", "vision_use_head")


def test_texts_that_a_tower_has_no_rows_or_no_positions_for_are_an_error():
    table, spec = torch.zeros(5, 4), TextSpec(3, 4, "first")
    read_ids(np.array([[4, 0, 0]]), None, table, spec)
    with pytest.raises(StudentError, match="gives token 5, and the text tower has 5 tokens"):
        read_ids(np.array([[5, 0, 0]]), None, table, spec)
    table, ids = torch.arange(20.0).reshape(5, 4), np.array([[4, 2, 0], [3, 1, 2]])
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    for pool, given, attended, pooling in (
        ("eos", None, [[1, 1, 0], [1, 1, 1]], [[0, 1, 0], [0, 0, 1]]),
        ("last", mask, mask, [[0, 0, 1], [0, 0, 1]]),
        ("first", mask, mask, [[1, 0, 0], [1, 0, 0]]),
        ("mean", mask, mask, [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]),
    ):
        texts = read_ids(ids, given, table, TextSpec(3, 4, pool, eos=2))
        assert np.array_equal(texts.inputs()["attention_mask"], attended), pool
        assert np.allclose(texts.inputs()["pooling"], pooling), pool
        assert np.array_equal(texts.inputs()["token_rows"], table[torch.from_numpy(ids)])
    every = read_ids(ids, mask, table, TextSpec(3, 4, "mean", attends_to_padding=True))
    assert every.inputs()["attention_mask"].all()
    parts = TextLayers(torch.zeros(3, 4), [], torch.nn.Identity())
    rows = torch.tensor([[[1.0] * 4, [10.0] * 4, [100.0] * 4]])
    pooled = RowTower(parts, mask_kind="nothing", length=3)(
        rows, torch.tensor([[1.0, 1, 0]]), torch.tensor([[0.5, 0.25, 1]])
    )
    assert pooled.tolist() == [[3.0] * 4]  # hidden tokens enter no embedding
    RowTower(parts, mask_kind="nothing", length=3)
    with pytest.raises(StudentError, match="up to 4 tokens, and its tower knows 3 positions"):
        RowTower(parts, mask_kind="nothing", length=4)


def test_a_tokenizer_of_another_model_is_an_error(tmp_path):
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 1000, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    write_config(tmp_path, config)
    model = open_clip.CLIP(**config)
    spread(model)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    refused(f"open_clip:local-dir:{tmp_path}", "1000 tokens", "49407")


@pytest.mark.parametrize(
    ("spec", "module"),
    [("open_clip:ViT-B-32:openai", "open_clip"), ("hf:some/clip", "transformers")],
)
def test_a_missing_library_names_the_extra(monkeypatch, spec, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=re.escape(install_line("students"))):
        load_student(spec)


@pytest.mark.parametrize("option", [{"tokenizer": "tokenizer.json"}, {"preprocess": "clip"}])
def test_only_onnx_models_take_a_tokenizer_and_a_preprocess(option):
    with pytest.raises(StudentError, match="mcad-s has its own"):
        load_student(**option)
