#!/usr/bin/env bash
# System packages for Debian and Ubuntu: what pip cannot bring. Needs root, or sudo.
# With the argument `tests`, also what only the tests need: a real adbd, a browser, emulators, locales.
set -euo pipefail

# libatomic1 and libstdc++6 are what Qualcomm's compiler links to.
packages=(make git ca-certificates libatomic1 libstdc++6)
# `mcad-mobile app` and the tests of the Java engine. Another JDK from 17 on will do as well.
packages+=(aapt apksigner android-framework-res)
if ! command -v javac >/dev/null; then packages+=(default-jdk-headless); fi
if ! command -v npm >/dev/null; then packages+=(npm); fi
packages+=(adb)  # bench --device adb
if [ "${1:-}" = tests ]; then
    packages+=(adbd iproute2 util-linux qemu-user chromium fonts-dejavu-core locales)
fi
# A Debian or Ubuntu python3 leaves venv out; a Python from elsewhere (pyenv, python.org) has it.
python=${PYTHON:-$(command -v python3.11 || command -v python3)}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    for candidate in python3.11-venv python3-venv; do
        if apt-cache show "$candidate" >/dev/null 2>&1; then packages+=("$candidate"); break; fi
    done
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}"
