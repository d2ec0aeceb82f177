#!/usr/bin/env bash
# Runs one of the README's two commands where nothing is installed: a Debian of its own, made by debootstrap, with what is
# committed here in it and no git, python3 or make beyond that. Needs root, debootstrap and some 15 GB. GIVEN, if there is
# one, is a folder that the command finds in /home/given. CACHE=DIR keeps the packages of apt and pip for the next root.
#   sudo scripts/bare-root.sh bookworm scripts/demo.sh
#   sudo scripts/bare-root.sh trixie scripts/test.sh
#   sudo scripts/bare-root.sh trixie "FLICKR8K=/home/given scripts/test.sh" flickr8k
set -euo pipefail
suite=${1:?usage: $0 SUITE COMMAND [GIVEN]} command=${2:?usage: $0 SUITE COMMAND [GIVEN]} given=${3:-}
checkout=$(cd "$(dirname "$0")/.." && pwd)
root=${BARE_ROOT:-${TMPDIR:-/tmp}/mcad-bare-$suite}
cache=${CACHE:-}
if [ -n "$cache" ]; then mkdir -p "$cache/apt" "$cache/pip"; cache=$(cd "$cache" && pwd); fi

if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase ${cache:+--cache-dir="$cache/apt"} "$suite" "$root" ${MIRROR:+"$MIRROR"}
fi
# What an earlier run installed, or a file that is no longer committed, would hide what is missing.
rm -rf "$root/home/mcad-mobile"
mkdir -p "$root/home/mcad-mobile"
git -C "$checkout" archive HEAD | tar -x -C "$root/home/mcad-mobile"
rm -rf "$root/home/given"
if [ -n "$given" ]; then cp -r "$given" "$root/home/given"; fi
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
# Every installed system has it; debootstrap leaves it out.
echo "127.0.0.1 localhost" > "$root/etc/hosts"
# Where a network has a certificate of its own, pip, Node and Java are told of it here, as its users do.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/this-networks-certificates.crt"
certificates=/etc/this-networks-certificates.crt java=
if [ -e /etc/ssl/certs/java/cacerts ]; then
    cp /etc/ssl/certs/java/cacerts "$root/etc/this-networks-certificates.jks"
    java=-Djavax.net.ssl.trustStore=/etc/this-networks-certificates.jks
fi

mounted=()
clean_up() { for place in "${mounted[@]}"; do umount --lazy "$place"; done; }
trap clean_up EXIT
# A mount, as the root of a system is: namespaces of mounts can be made inside.
mount --bind "$root" "$root"
mounted=("$root")
for place in proc sys dev; do
    mount --rbind --make-rslave "/$place" "$root/$place"
    mounted=("$root/$place" "${mounted[@]}")
done
if [ -n "$cache" ]; then
    mkdir -p "$root/root/.cache/pip"
    mount --bind "$cache/apt" "$root/var/cache/apt/archives"
    mount --bind "$cache/pip" "$root/root/.cache/pip"
    mounted=("$root/var/cache/apt/archives" "$root/root/.cache/pip" "${mounted[@]}")
fi
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    PIP_CERT=$certificates NODE_EXTRA_CA_CERTS=$certificates SSL_CERT_FILE=$certificates MAVEN_OPTS=$java \
    chroot "$root" sh -c "cd /home/mcad-mobile && $command" 2>&1 || { code=$?; echo "$command ended with $code"; exit "$code"; }
