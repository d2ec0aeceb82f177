"""A JDK and an Android SDK whose programs note how they are called, and write small files where
the real ones write large ones. What is signed stays as it is."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from mcad_mobile.android import downloads
from mcad_mobile.android.native_libraries import search_kernels
from mcad_mobile.android.toolchain import JAVAC, executable
from mcad_mobile.base.files import cache_directory
from tests.support.archives import ABI

_PROGRAMS = ("java", "javac", "javadoc", "keytool", "jarsigner", "aapt2")
_SCRIPT = r"""#!/usr/bin/env bash
program=${0##*/} last='' out=''
case "$program $*" in
    javac*-XshowSettings*) echo "    java.home = FOLDER/jdk" >&2; exit ;;
    javac*-version*) exec JAVAC "$@" ;;
esac
cd FOLDER
printf '%s\0' "$program" "$@" >> calls
echo >> calls
echo "$program ${MCAD_DEBUG_PASSWORD-} ${MCAD_KEYSTORE_PASSWORD-}" >> passwords
for word; do
    case $last in
        -o | -d | --output | --out | -keystore) out=$word ;;
        --manifest) cp "$word" . ;;
    esac
    case $word in
        --output=*) out=${word#*=} ;;
        --modules=*) module=${word#*=} ;;
        --config=*) cp "${word#*=}" config.json ;;
    esac
    last=$word
done
if [ -e "fails-$program" ]; then echo "$program does not work." >&2; exit 1; fi
case "$program $*" in
    keytool*) touch "$out" ;;
    javac*) mkdir -p "$out/a" && printf 'a class' > "$out/a/A.class" ;;
    javadoc*) touch "$out/index.html" ;;
    "aapt2 link"*) cp linked.zip "$out" ;;
    *D8\ --version) echo D8 9.9 ;;
    *.D8\ *) printf dex > "$out/classes.dex" ;;
    *" sign "*) cp "$last" "$out" ;;
    *" build-bundle "*) cp "$module" "$out" ;;
esac
"""


class FakeAndroidTools:
    """Puts the programs first on PATH and into the SDK that ANDROID_HOME names. The cache is a new
    one, with ONNX Runtime, bundletool and the search kernels in it."""

    def __init__(
        self, folder: Path, onnxruntime_aar: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.cache = folder / "cache" / "mcad-mobile"
        self.bin = folder / "bin"
        for made in (self.bin, self.cache):
            made.mkdir(parents=True)
        script = _SCRIPT.replace("JAVAC", executable(JAVAC)).replace("FOLDER", str(folder))
        for name in _PROGRAMS:
            (self.bin / name).write_text(script)
            (self.bin / name).chmod(0o755)
        self.tools = folder / "build-tools" / "36.0.0"
        for path in ("lib/d8.jar", "lib/apksigner.jar"):
            (self.tools / path).parent.mkdir(parents=True, exist_ok=True)
            (self.tools / path).write_bytes(path.encode())
        (self.tools / "aapt2").symlink_to(self.bin / "aapt2")
        self.framework = folder / "platforms" / "android-36" / "android.jar"
        self.framework.parent.mkdir(parents=True)
        self.framework.touch()
        with zipfile.ZipFile(folder / "linked.zip", "w") as linked:
            for name in ("AndroidManifest.xml", "resources.arsc", "resources.pb"):
                linked.writestr(name, name)
        (folder / "jdk" / "lib").mkdir(parents=True)
        with zipfile.ZipFile(folder / "jdk" / "lib" / "ct.sym", "w") as symbols:
            symbols.writestr("GH/java.base/java/lang/Object.sig", bytes(16))
        search_kernels(ABI)
        kernels = cache_directory().glob("kernels-*.so")
        for path in (onnxruntime_aar, downloads.fetch(downloads.BUNDLETOOL), *kernels):
            (self.cache / path.name).symlink_to(path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache.parent))
        monkeypatch.setenv("ANDROID_HOME", str(folder))
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")

    def calls(self) -> list[list[str]]:
        """What was called since the last time, as words."""
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [line.split("\0")[:-1] for line in lines]

    def passwords(self) -> list[str]:
        """The programs that were called, each with the passwords in its environment."""
        return (self.folder / "passwords").read_text().splitlines()

    def fail(self, program: str) -> None:
        """Let a program fail from now on."""
        (self.folder / f"fails-{program}").touch()
