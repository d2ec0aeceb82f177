#!/usr/bin/env bash
# All tests but the slow ones, from nothing, on Debian 12 or later: installs what is missing (and asks for sudo where that is needed),
# then format, lint, types and tests. Safe to run again. Without captioned photos, which are not in the repository, the
# tests that need them are skipped: docs/development.md.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup-system.sh tests
make check
exec make test
