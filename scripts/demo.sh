#!/usr/bin/env bash
# From a bare checkout, on Debian 12 or later: installs what is missing (asking for sudo if it must), exports, indexes,
# searches and measures. Safe to run again. PHOTOS=DIR scripts/demo.sh uses your photos.
set -euo pipefail
[ -z "${PHOTOS:-}" ] || export PHOTOS="$(realpath -- "$PHOTOS")"
cd "$(dirname "$0")/.."
scripts/setup-system.sh demo
exec make demo
