"""Maven artifacts, fetched by mvn: it knows the user's mirrors, proxies, passwords and certificates
(~/.m2/settings.xml)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.toolchain import Tool, executable, run
from mcad_mobile.errors import BuildError

MVN = Tool(
    "mvn", "apt install maven  # macOS: brew install maven", "app, library", version_flag="-v"
)
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_TIMEOUT_S = 1800
# What mvn prints ahead of the reason, and the note that it puts behind.
_GOAL = re.compile(r"^\[ERROR\] (Failed to execute goal \S+ \(\S+\) on project \S+: )?")
_HELP = re.compile(r" -> \[Help \d+\]$")


@dataclass(frozen=True)
class Artifact:
    """group:name:version, and the kind of its file."""

    group: str
    name: str
    version: str
    extension: str = "jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.{self.extension}"

    def fetch(self, folder: Path) -> Path:
        """Copy the artifact's file into `folder`, which mvn also runs in, and return its path.

        Raises:
            BuildError: mvn is missing, ran too long, or cannot get the artifact.
        """
        executable(MVN)
        arguments = ["--quiet", "--batch-mode", "-Dstyle.color=never", "--strict-checksums"]
        arguments += ["--update-snapshots"]  # a miss is asked for again, not remembered for a day
        arguments += [_COPY, f"-Dartifact={self}:{self.extension}", f"-DoutputDirectory={folder}"]
        try:
            run(MVN, arguments, timeout_s=_TIMEOUT_S, folder=folder)
        except BuildError as error:
            raise BuildError(f"mvn could not fetch {self}: {_reason(error.what)}") from error
        path = folder / self.file_name
        if not path.is_file():
            raise BuildError(f"mvn fetched {self} and left no {self.file_name}.")
        return path


def _reason(output: str) -> str:
    """The first error that mvn printed."""
    lines = [line for line in output.splitlines() if line.startswith("[ERROR]")]
    return _HELP.sub("", _GOAL.sub("", lines[0])) if lines else output
