"""Find published models by name in Hugging Face's cache, then on its hub; if neither has them, an
error says how to get them. An unreachable network fails fast."""

from __future__ import annotations

import difflib
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec

from mcad_mobile.base.documents import decode, read_file
from mcad_mobile.base.standard_output import quiet
from mcad_mobile.errors import McadError, StudentError, missing_extra, require, short_message
from mcad_mobile.students.weights_licences import NOTICES, TEXTS

_CONNECT_S, _ANSWER_S = 5.0, 10.0
OPEN_CLIP_HINT = "Give a folder that open_clip's push_to_hf_hub or a hub's download made."
_SAVED = "Give a folder that save_pretrained() wrote, with weights, processor and tokenizer."
_CONFIG = "open_clip_config.json"
_FACTS = ("*.json", "*.txt", "*.model", "README.md", *TEXTS, *NOTICES)


class OpenClipConfig(msgspec.Struct, frozen=True):
    """The fields of open_clip_config.json that are read."""

    model_cfg: dict[str, Any] = msgspec.field(default_factory=dict)
    preprocess_cfg: dict[str, Any] = msgspec.field(default_factory=dict)


def find_folder(name: str, *needed: Sequence[str]) -> Path:
    """Return the folder `name`, or a snapshot of the repository `name` with a file for each group
    of patterns in `needed`: each group's first pattern that matches is downloaded."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise StudentError(
            f"There is no folder {name}.",
            "Check the path, or give a model's name on Hugging Face: OWNER/NAME.",
        )
    hub = require("huggingface_hub", "students")
    cached = None
    with suppress(Exception):  # LocalEntryNotFoundError or a damaged cache: try to download
        cached = Path(hub.snapshot_download(name, local_files_only=True))
    if cached and all(any(any(cached.glob(p)) for p in group) for group in needed):
        return cached
    if hub.constants.HF_HUB_OFFLINE:
        raise _not_here(name, "HF_HUB_OFFLINE is set")
    _check_reachable(hub.constants.ENDPOINT, name)
    try:
        # This request has a timeout; without one, the client waits for a silent hub forever.
        files = [
            file.rfilename for file in hub.HfApi().model_info(name, timeout=_ANSWER_S).siblings
        ]
        wanted = [
            next((p for p in group if any(Path(f).match(p) for f in files)), group[0])
            for group in needed
        ]
        return Path(hub.snapshot_download(name, allow_patterns=[*_FACTS, *wanted]))
    # Broad on purpose: the hub's client raises its own errors and those of HTTP and the disk.
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise _not_here(name, f"{type(error).__name__}: {first}") from error


def find_weights(repository: str, names: Sequence[str], own: str = "") -> Path:
    """Return a repository's file of weights: the one that it calls `own`, rather as safetensors, or
    else the first of `names`."""
    if own:
        names = (str(Path(own).with_suffix(".safetensors")), own)
    folder = find_folder(repository, names)
    return next(folder / name for name in names if (folder / name).is_file())


@contextmanager
def loading(name: str, kind: str = "", hint: str = _SAVED) -> Iterator[None]:
    """Turn the errors of a library that loads `name`, as a `kind`, into StudentError or, if a part
    of it is not installed, MissingExtra."""
    try:
        with quiet():  # warnings from the libraries' imports: torchao, pytree
            yield
    except McadError:
        raise
    except ImportError as error:  # a library that a tokenizer or a model needs
        raise missing_extra(error, "students", kind or name) from error
    # Broad on purpose: json, safetensors, pickle, torch and timm all raise their own errors.
    except Exception as error:
        reason = f"{type(error).__name__}: {short_message(error)}"
        if "weights_only" in str(error) or "Weights only load failed" in str(error):
            reason = "loading it would run code from the file, which mcad-mobile never does."
        what = f"{name} cannot be loaded{f' as {kind}' if kind else ''}"
        raise StudentError(f"{what}: {reason}", hint) from error


def read_open_clip_config(folder: Path) -> OpenClipConfig:
    """Read open_clip_config.json in a folder. StudentError if it cannot be read."""
    path = folder / _CONFIG
    raw = read_file(path, StudentError, OPEN_CLIP_HINT)
    subject = f"{path} is no configuration of open_clip: it"
    return decode(raw, OpenClipConfig, subject, StudentError, OPEN_CLIP_HINT)


def check_open_clip_name(spec: str) -> None:
    """Raise StudentError if open_clip has no such model. Reads its files: importing it is slow."""
    kind, _, rest = spec.partition(":")
    if kind in ("local-dir", "hf-hub"):
        is_here = kind == "local-dir"
        read_open_clip_config(Path(rest).expanduser() if is_here else find_folder(rest, [_CONFIG]))
        return
    loaded, found = sys.modules.get("open_clip"), find_spec("open_clip")
    if loaded is not None:
        names = loaded.list_models()  # includes models registered at run time
    elif found is not None and found.origin is not None:
        names = [file.stem for file in Path(found.origin).parent.glob("model_configs/*.json")]
    else:
        names = require("open_clip", "students").list_models()  # MissingExtra
    name = kind.replace("/", "-")
    if name not in names:
        near = difflib.get_close_matches(name, names, 5, 0.4)
        raise StudentError(
            f"open_clip {version('open_clip_torch')} has no model called {name!r}.",
            f"Nearest: {', '.join(near) or 'none'}. All: python -c 'import open_clip; "
            "print(open_clip.list_models())'.",
        )


def _check_reachable(endpoint: str, name: str) -> None:
    """Raise StudentError early: the client would try five times for ten seconds each."""
    if {"https", "all"} & set(getproxies()):
        return
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _CONNECT_S).close()
    except OSError as error:
        raise _not_here(name, f"{parts.hostname} cannot be reached: {error}") from error


def _not_here(name: str, why: str) -> StudentError:
    return StudentError(
        f"{name} is neither a folder nor in the cache of Hugging Face, and could not be fetched "
        f"({why}).",
        f"Where there is a network, run: hf download {name}. Then copy the cache "
        "(~/.cache/huggingface) here, or point HF_HOME to it.",
    )
