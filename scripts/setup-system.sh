#!/usr/bin/env bash
# System packages for Debian 12 or later (Ubuntu 24.04 should work; nobody has tried it): what pip cannot bring. Installs what is missing and says so; asks for sudo
# where that is needed, and for nothing where nothing is missing.
#   scripts/setup-system.sh demo     for the main job
#   scripts/setup-system.sh          also for `mcad-mobile app` and `bench --device adb`
#   scripts/setup-system.sh tests    also what only the tests need: a browser, emulators, locales
#   scripts/setup-system.sh slow     also what slow tests need: PostgreSQL with pgvector (Debian 13), Gradle, clang
set -euo pipefail

wanted=${1:-app}
case $wanted in demo | app | tests | slow) ;; *) echo "usage: $0 [demo|app|tests|slow]" >&2; exit 2 ;; esac
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here: install by hand what $0 lists, or use Debian 12 or later." >&2
    exit 1
fi

# libatomic1 and libstdc++6 are what Qualcomm's compiler links to. gcc compiles the search
# kernels.
packages=(make gcc libc6-dev ca-certificates libatomic1 libstdc++6)
if [ "$wanted" != demo ]; then
    packages+=(git adb)
    # Another JDK from 17 on will do as well. aapt2 comes by mvn for x86-64 alone.
    command -v javac >/dev/null || packages+=(default-jdk-headless)
    [ "$(uname -m)" = x86_64 ] || packages+=(aapt)
    command -v mvn >/dev/null || packages+=(maven)
fi
if [ "$wanted" = tests ] || [ "$wanted" = slow ]; then
    packages+=(debian-archive-keyring iproute2 util-linux qemu-user strace chromium fonts-dejavu-core locales)
fi
if [ "$wanted" = slow ]; then
    packages+=(postgresql-17-pgvector gradle clang libclang-rt-dev)
fi
# A Debian or Ubuntu python3 leaves venv out; a Python from elsewhere (pyenv, python.org) has it.
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
if [ -z "$python" ]; then
    packages+=(python3 python3-venv)
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packages+=("python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv")
fi

missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "Installing ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "There is no sudo here. As root: apt-get update && apt-get install ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    for number in "${!missing[@]}"; do  # adbd, in Debian 12
        if ! apt-cache show "${missing[number]}" >/dev/null 2>&1; then
            echo "This release has no ${missing[number]}: what needs it is left out, and its tests are skipped."
            unset "missing[number]"
        fi
    done
    if [ ${#missing[@]} -gt 0 ]; then
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
fi

python=${python:-$(command -v python3)}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$("$python" --version) is too old: 3.11 or later is needed. Install one, and say where: PYTHON=/usr/bin/python3.12 $0" >&2
    exit 1
fi
