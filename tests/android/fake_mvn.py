"""A fake mvn with what we call: it copies artifacts from a folder, or fails as mvn does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcad_mobile.android.downloads import Artifact

_SCRIPT = """#!/bin/sh
echo "$@" >> '{folder}/calls'
for argument; do
    case $argument in
        -Dartifact=*) artifact=${{argument#-Dartifact=}} ;;
        -DoutputDirectory=*) out=${{argument#-DoutputDirectory=}} ;;
    esac
done
if [ -z "$artifact" ]; then echo "Apache Maven 3.9.9"; exit; fi
file=$(echo "$artifact" | tr : _)
if ! [ -f '{folder}'/"$file" ]; then
    echo "[ERROR] Failed to execute goal a:b:1:copy (default-cli) on project standalone-pom: \\
Could not find artifact $artifact in central -> [Help 1]"
    echo "[ERROR] Re-run Maven using the -X switch"
    exit 1
fi
name=$(echo "$artifact" | cut -d: -f2)-$(echo "$artifact" | cut -d: -f3)
cp '{folder}'/"$file" "$out/$name.$(echo "$artifact" | cut -d: -f4)"
"""


class FakeMvn:
    """Puts mvn first on PATH; its repository is a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder / "repository"
        self._folder.mkdir()
        (folder / "bin").mkdir()
        program = folder / "bin" / "mvn"
        program.write_text(_SCRIPT.format(folder=self._folder))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")

    def publish(self, artifact: Artifact, data: bytes) -> None:
        (self._folder / f"{artifact}:{artifact.extension}".replace(":", "_")).write_bytes(data)

    @property
    def calls(self) -> list[str]:
        """The arguments of each run."""
        calls = self._folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []
