#!/usr/bin/env bash
# An arm64 Python with onnxruntime and LiteRT, for `bench --device emulator` and its tests, and an arm64 JVM for those
# of the Java engine: Debian packages and official aarch64 wheels, unpacked into one folder (480 MB, 195 of them the
# JVM's). No root needed; Debian only.
set -euo pipefail

made=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/mcad-mobile/arm64}
root=$made.unfinished  # what was there serves until the new one is whole
python=${PYTHON:-python3}
apt=$root/apt
packages=(python3 libstdc++6 libgomp1 zlib1g)
rm -rf "$root"
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
touch "$apt/status"
# An apt of its own, as if this machine were an arm64 one with nothing installed.
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
    -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
apt-get "${options[@]}" update
# The release's default Java, alone: its package's other needs are for certificates, smart cards, sound and images.
java=$(apt-cache "${options[@]}" depends default-jre-headless |
    sed -n 's/.*Depends: \(openjdk-[0-9]*-jre-headless\)$/\1/p')
apt-get "${options[@]}" install --yes --download-only --no-install-recommends "${packages[@]}"
(cd "$apt/cache/archives" && apt-get "${options[@]}" download "$java")
# Debian's /lib is a link into /usr; unpacking must not turn it into a folder.
for folder in bin lib sbin; do mkdir -p "$root/usr/$folder"; ln -s "usr/$folder" "$root/$folder"; done
for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
rm -rf "$apt"
# An absolute link would lead out of the folder, to what this machine has there.
find "$root" -lname '/*' -print0 | while IFS= read -r -d '' link; do
    ln --symbolic --force --no-dereference --relative "$root$(readlink "$link")" "$link"
done

interpreter=$(readlink "$root/usr/bin/python3")
wheels=(numpy msgspec onnxruntime pillow ai-edge-litert)
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
platforms=()
for glibc in 2_17 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    "${platforms[@]}" --platform manylinux2014_aarch64 --implementation cp \
    --python-version "${interpreter#python}" --target "$root/site-packages" \
    "${pinned[@]}" flatbuffers protobuf packaging
cp "$0" "$root"  # tells what it was made by; see tests/conftest.py
rm -rf "$made"
mv "$root" "$made"
echo "$made"
