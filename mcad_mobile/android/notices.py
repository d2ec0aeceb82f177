"""The licences of everything in an app or library: checked before the build, and packed into it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from mcad_mobile.android.downloads import QUALCOMM_LICENCE, Artifact
from mcad_mobile.android.native_libraries import Libraries
from mcad_mobile.android.packages import Entry
from mcad_mobile.base import VERSION
from mcad_mobile.base.licences import (
    UNKNOWN,
    Licence,
    find_licence,
    licence_text,
    missing_text,
    own_text,
)
from mcad_mobile.engine.bundle import Bundle, StudentFacts
from mcad_mobile.errors import BuildError

FOLDER = "assets/mcad-licences"  # the app's About screen reads it
_TEXT = re.compile(r"(?i)(licen[cs]e|notice)(\.\w+)?")  # the name of a file in an archive
_READER = "the reader of text, from PaddlePaddle's PP-OCR: Apache-2.0 (reader/LICENSE)"
_PLACES = "the table of places, from GeoNames (https://www.geonames.org): CC BY 4.0"
_SHIPPABLE = "hf:google/siglip2-base-patch16-224"


def check_licence(bundle: Bundle, accepted: str | None) -> None:
    """Raise BuildError if the licence of the bundle's weights does not let everyone ship them, and
    is not the `accepted` one."""
    for student in bundle.students:
        _check_licence(student, accepted)


def _check_licence(student: StudentFacts, accepted: str | None) -> None:
    licence = find_licence(student.licence)
    if not licence.limit or licence.name.lower() == (accepted or "").lower():
        return
    whose = f"the weights of {student.name}"
    if licence.name == UNKNOWN:
        raise BuildError(
            f"The licence of {whose} is not known.",
            "Name it as `license:` in the model card README.md beside the weights, and export "
            f"again; or, if you may ship them, add --accept-licence {UNKNOWN}.",
        )
    read = f"Read it ({licence.page}), and if" if licence.page else "If"
    instead = f", and --accept-licence names {accepted}" if accepted else ""
    raise BuildError(
        f"{whose[0].upper()}{whose[1:]} are under {licence.name}, which {licence.limit}{instead}.",
        f"{read} your use is allowed, add --accept-licence {licence.name}; or export a student "
        f"that everyone may ship: --student {_SHIPPABLE}.",
    )


def notices(
    found: Libraries, fetched: Mapping[Path, Artifact], bundle: Bundle | None
) -> list[Entry]:
    """Return as assets NOTICE.txt, which names every part and its licence, and the licence texts.
    BuildError if an installed package lacks its licence."""
    texts = {
        "mcad-mobile/LICENSE": own_text("LICENSE").encode(),
        "mcad-mobile/NOTICE": own_text("NOTICE").encode(),
        "onnxruntime/LICENSE": _onnxruntime("LICENSE"),
        "onnxruntime/ThirdPartyNotices.txt": _onnxruntime("ThirdPartyNotices.txt"),
    }
    lines = [f"mcad-mobile {VERSION}, the search engine: Apache-2.0 (mcad-mobile/LICENSE)"]
    for archive in found.archives:
        if archive.path.is_file():  # a dependency is listed, and was not fetched
            with zipfile.ZipFile(archive.path) as package:
                texts |= {
                    f"{archive.path.stem}/{name}": package.read(name)
                    for name in package.namelist()
                    if _TEXT.fullmatch(PurePosixPath(name).name)
                }
        if archive.onnxruntime is not None:
            lines.append(
                f"ONNX Runtime {archive.onnxruntime}, of Microsoft: MIT (onnxruntime/LICENSE; "
                "onnxruntime/ThirdPartyNotices.txt for what it holds)"
            )
        elif archive.path in fetched:
            lines.append(f"{fetched[archive.path]}: {QUALCOMM_LICENCE}")
        else:
            lines.append(f"{archive.path.name}: the licence of whoever made it")
    if bundle is not None:
        for place, student in zip(("weights", "multilingual"), bundle.students, strict=False):
            licence, text = find_licence(student.licence), _weights_text(bundle, student)
            where = f"{place}/LICENSE"
            if text is not None:
                texts[where] = text
            lines.append(_weights_line(student, licence, where if text else licence.page))
        if bundle.reader is not None:
            texts["reader/LICENSE"] = bundle.path(bundle.reader.licence_text).read_bytes()
            lines.append(_READER)
            lines += [_PLACES] if bundle.reader.places is not None else []
    notice = "This app holds:\n\n" + "".join(f"- {line}\n" for line in lines)
    entries = {"NOTICE.txt": notice.encode(), **texts}
    return [Entry(f"{FOLDER}/{name}", data) for name, data in sorted(entries.items())]


def _weights_text(bundle: Bundle, student: StudentFacts) -> bytes | None:
    """Return the text of the weights' licence, also for a bundle that was exported without it."""
    if student.licence_text is not None:
        return bundle.path(student.licence_text).read_bytes()
    text = licence_text(student.licence, f"the authors of {student.source or student.name}")
    return None if text is None else text.encode()


def _weights_line(student: StudentFacts, licence: Licence, text: str) -> str:
    weights = student.name if not student.source else f"{student.name} ({student.source})"
    limit = f", which {licence.limit}" if licence.limit else ""
    return f"the weights of {weights}: {licence.name}{limit}" + (f" ({text})" if text else "")


def _onnxruntime(name: str) -> bytes:
    """Read a text of the Python package, which has the same native code as the Android archive."""
    package = find_spec("onnxruntime")
    assert package is not None and package.origin is not None  # the engine requires it
    try:
        return Path(package.origin).with_name(name).read_bytes()
    except OSError as error:
        raise missing_text(f"ONNX Runtime's {name}") from error
