#!/usr/bin/env bash
# A Debian 13 in a folder, of packages and wheels that are unpacked and not installed: Python with onnxruntime, and a
# JVM (480 MB, 195 of them the JVM's). No root needed; any Debian or Ubuntu.
#   scripts/setup-root.sh arm64     for `bench --device emulator`, and tests on an emulated Arm (with LiteRT)
#   scripts/setup-root.sh device    with adbd: the file system of what tests take for a phone or a board
set -euo pipefail

kind=${1:-}
case $kind in
arm64) arch=arm64 ;;
device) arch=$(dpkg --print-architecture) ;;
*) echo "usage: $0 arm64|device [FOLDER]" >&2; exit 2 ;;
esac
made=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/mcad-mobile/$kind}
root=$made.unfinished  # what was there serves until the new one is whole
python=${PYTHON:-python3}
mirror=${MIRROR:-http://deb.debian.org/debian}
apt=$root/apt
packages=(python3 libstdc++6 libgomp1 zlib1g)
wheels=(numpy msgspec onnxruntime pillow)
if [ "$kind" = arm64 ]; then
    wheels+=(ai-edge-litert)
else
    packages+=(adbd base-files dash coreutils findutils grep sed util-linux)
fi
rm -rf "$root"
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
touch "$apt/status"
keys=$(ls /usr/share/keyrings/debian-archive-keyring.* | head -1)
echo "deb [signed-by=$keys] $mirror trixie main" >"$apt/sources.list"
# An apt of its own, as if this machine were another with nothing installed.
options=(-qq -o APT::Architecture="$arch" -o APT::Architectures="$arch"
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts"
    -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
    -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
apt-get "${options[@]}" update
# The release's default Java, alone: its package's other needs are for certificates, smart cards, sound and images.
java=$(apt-cache "${options[@]}" depends default-jre-headless |
    sed -n 's/.*Depends: \(openjdk-[0-9]*-jre-headless\)$/\1/p')
apt-get "${options[@]}" install --yes --download-only --no-install-recommends "${packages[@]}"
(cd "$apt/cache/archives" && apt-get "${options[@]}" download "$java")
# Debian's /lib is a link into /usr; unpacking must not turn it into a folder.
for folder in bin lib lib64 sbin; do mkdir -p "$root/usr/$folder"; ln -s "usr/$folder" "$root/$folder"; done
for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
rm -rf "$apt"
# An absolute link would lead out of the folder, to what this machine has there.
find "$root" -lname '/*' -print0 | while IFS= read -r -d '' link; do
    ln --symbolic --force --no-dereference --relative "$root$(readlink "$link")" "$link"
done

interpreter=$(readlink "$root/usr/bin/python3")
packages_of_python=$root/usr/local/lib/$interpreter/dist-packages
# The versions of this machine, where it has them, so that parity compares like with like.
constraints=$("$python" - "${wheels[@]}" <<'END'
import sys
from importlib import metadata
for name in sys.argv[1:]:
    try:
        print(f"{name}=={metadata.version(name)}")
    except metadata.PackageNotFoundError:
        print(name)
END
)
mapfile -t pinned <<<"$constraints"
machine=$(case $arch in arm64) echo aarch64 ;; amd64) echo x86_64 ;; *) uname -m ;; esac)
platforms=()
for glibc in 2_17 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    "${platforms[@]}" --platform "manylinux2014_$machine" --implementation cp \
    --python-version "${interpreter#python}" --target "$packages_of_python" \
    "${pinned[@]}" flatbuffers protobuf packaging
if [ "$kind" = device ]; then
    echo "root:x:0:0:root:/:/bin/sh" >"$root/etc/passwd"
    # Where tests mount: the phone's folder for files, and this computer, for programs that stand in for a phone's.
    mkdir -p "$root/data/local/tmp" "$root/computer" "$root"/{proc,sys,dev,tmp}
fi
cp "$0" "$root"  # records which version of this script made the folder; see tests/support/unpacked.py
rm -rf "$made"
mv "$root" "$made"
echo "$made"
