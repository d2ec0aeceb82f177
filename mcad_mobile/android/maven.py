"""Files of a Maven repository: a server's, a company's mirror, or a folder in that layout.

What comes is compared with the checksum that the repository states beside it, and with ours where
one is pinned. Credentials are taken from ~/.netrc.
"""

from __future__ import annotations

import base64
import hashlib
import netrc
import shutil
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from mcad_mobile.errors import BuildError

_TIMEOUT_S = 60
_CHECKSUMS = ("sha512", "sha256", "sha1")  # Maven Central has sha1 always, the others of late
SETTINGS = Path(".m2") / "settings.xml"


@dataclass(frozen=True)
class Artifact:
    """group:name:version. `sha256` of its file where it is known beforehand."""

    group: str
    name: str
    version: str
    sha256: str | None = None
    extension: str = "aar"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.{self.extension}"

    @property
    def path(self) -> str:
        return "/".join([*self.group.split("."), self.name, self.version, self.file_name])


def fetch_artifact(repository: str, artifact: Artifact, out: Path) -> None:
    """Write the artifact's file to `out`. `repository` is a URL (https, http, file) or a folder.

    BuildError if it is not there, if the repository states no checksum of it, or if it has another
    than that or than the pinned one; nothing is left at `out` then.
    """
    url = f"{_url(repository)}/{artifact.path}"
    algorithm, stated = _stated_checksum(url, artifact, repository)
    try:
        with _open(url) as source, out.open("wb") as file:
            shutil.copyfileobj(source, file)
        with out.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        with out.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if found != stated:
            raise BuildError(
                f"{url} is damaged: its {algorithm} is {found}, and {stated} is stated beside it.",
                "Ask again; if that does not help, the repository's copy is broken.",
            )
        if artifact.sha256 not in (None, sha256):
            raise BuildError(
                f"{url} is not the {artifact} that was published: its sha256 is {sha256}, and "
                f"{artifact.sha256} is pinned.",
                "Use another repository, or look into how this one came by the file.",
            )
    except BuildError:
        out.unlink(missing_ok=True)
        raise
    except OSError as error:
        out.unlink(missing_ok=True)
        raise _unreachable(artifact, repository, error) from error


def mirror(home: Path | None = None) -> str | None:
    """The mirror of Maven Central that ~/.m2/settings.xml names, or None. BuildError if that file
    is no XML."""
    path = (home or Path.home()) / SETTINGS
    if not path.is_file():
        return None
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise BuildError(
            f"{path} cannot be read: {error}.", "Repair it, or name a repository: --maven URL."
        ) from error
    for found in root.iter():
        if found.tag.rpartition("}")[2] == "mirror":
            facts = {part.tag.rpartition("}")[2]: (part.text or "").strip() for part in found}
            if facts.get("url") and _is_of_central(facts.get("mirrorOf", "")):
                return facts["url"]
    return None


def _is_of_central(pattern: str) -> bool:
    """Maven's patterns: ids, `*`, `external:*`, and `!id` for what is not meant."""
    parts = [part.strip() for part in pattern.split(",")]
    return "!central" not in parts and bool({"*", "external:*", "central"} & set(parts))


def _url(repository: str) -> str:
    """BuildError for what is neither a URL nor a folder."""
    if urllib.parse.urlsplit(repository).scheme in ("http", "https", "file"):
        return repository.rstrip("/")
    folder = Path(repository).absolute()
    if not folder.is_dir():
        raise BuildError(
            f"{repository} is neither a folder nor an http(s) address.",
            "Give a Maven repository: --maven https://repo.example.org/maven2, or a folder in that "
            "layout.",
        )
    return folder.as_uri()


def _stated_checksum(url: str, artifact: Artifact, repository: str) -> tuple[str, str]:
    for algorithm in _CHECKSUMS:
        try:
            with _open(f"{url}.{algorithm}") as source:
                words = source.read(1024).decode("ascii", "replace").split()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise _unreachable(artifact, repository, error) from error
        except urllib.error.URLError as error:
            if not isinstance(error.reason, FileNotFoundError) and "No such file" not in str(error):
                raise _unreachable(artifact, repository, error) from error
        except OSError as error:
            raise _unreachable(artifact, repository, error) from error
        else:
            if words:
                return algorithm, words[0].lower()
    raise BuildError(
        f"{repository} has no {artifact}, or states no checksum of it ({url}.sha1).",
        "Look whether it mirrors Maven Central, where that file is.",
    )


def _open(url: str) -> IO[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "mcad-mobile"})
    host = urllib.parse.urlsplit(url).hostname
    try:
        known = netrc.netrc().authenticators(host) if host else None
    except (FileNotFoundError, netrc.NetrcParseError):
        known = None
    if known is not None:
        pair = base64.b64encode(f"{known[0]}:{known[2]}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {pair}")
    answer: IO[bytes] = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    return answer


def _unreachable(artifact: Artifact, repository: str, error: OSError) -> BuildError:
    return BuildError(
        f"{artifact} could not be fetched from {repository}: {error}.",
        "See that the address (--maven, or the mirror in ~/.m2/settings.xml) is right and can be "
        "reached; a password belongs into ~/.netrc.",
    )
