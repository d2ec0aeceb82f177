#!/usr/bin/env bash
# The main job, from nothing, on Debian or Ubuntu: installs what is missing (and asks for sudo where that is needed), exports,
# indexes, searches and measures. Safe to run again. PHOTOS=DIR scripts/demo.sh takes your photos.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup-system.sh demo
exec make demo
