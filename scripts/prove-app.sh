#!/usr/bin/env bash
# Proves that `mcad-mobile app` needs Python and a JDK, and nothing else of a system: builds and verifies an app of the
# bundle in /home/given. As root in a bare Debian, where scripts/bare-root.sh runs it; Debian 12's own aapt2 is of
# Android 10, and too old for it.
set -euo pipefail
cd "$(dirname "$0")/.."
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates python3-venv openjdk-17-jdk-headless >/dev/null
# shellcheck source=/dev/null
. /etc/os-release
echo "$PRETTY_NAME, $(python3 --version), $(javac -version)"
for tool in aapt aapt2 apksigner zipalign node npm; do
    if command -v $tool; then echo "$tool is there: this would prove nothing" >&2; exit 1; fi
done
rm -rf /tmp/proof
python3 -m venv /tmp/proof
/tmp/proof/bin/pip install -q --disable-pip-version-check .
cd /tmp/proof
time bin/mcad-mobile app --bundle /home/given --out demo.apk
java -jar ~/.cache/mcad-mobile/apksigner-37.jar verify --verbose demo.apk
~/.cache/mcad-mobile/aapt2-apktool-3.0.3-linux dump badging demo.apk | grep -E '^(package|targetSdk|native-code)'
bin/mcad-mobile doctor --json | python3 -c '
import json, sys
for tool in json.load(sys.stdin):
    if "app" in tool["needed_for"].replace(",", "").split():
        print(tool["tool"], tool["version"])'
