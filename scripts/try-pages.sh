#!/usr/bin/env bash
# Types what docs/for-app-developers.md, for-model-people.md and with-a-phone.md tell their readers to type, page by page, each
# with an environment of its own. What cannot be typed here is printed with the reason. Where nothing is installed:
#   sudo scripts/bare-root.sh bookworm scripts/try-pages.sh
#   scripts/try-pages.sh docs/with-a-phone.md      # this page
set -euo pipefail
cd "$(dirname "$0")/.."
pages=("$@")
if [ ${#pages[@]} -eq 0 ]; then pages=(docs/for-app-developers.md docs/for-model-people.md docs/with-a-phone.md); fi

if [ -e .venv ]; then
    echo "There is an environment in .venv here, and the pages begin without one: run this in a root of its own (above)."
    exit 2
fi

why_not() {
    case "$1" in
    *"--from-scratch"*) ;;
    *"--student open_clip:"*) echo "downloads weights" ;;
    "adb install"* | "adb shell"* | *"--device adb"*) echo "wants a phone" ;;
    "mcad-mobile serve"*) echo "runs until it is stopped" ;;
    esac
}

# Photos, and captioned ones in splits, as a reader would have them.
prepare() {
    mkdir -p "$HOME/Pictures" build/captioned/{train,val,test}
    .venv/bin/python - <<'PYTHON'
import shutil
from pathlib import Path
from mcad_mobile.data.packaged_photos import packaged_photos

for number, photo in enumerate(packaged_photos()):
    shutil.copy(photo, Path.home() / "Pictures")
    split = ("train", "train", "val", "test")[number % 4]
    copy = Path("build/captioned") / split / f"{number:02}{photo.suffix}"
    shutil.copy(photo, copy)
    copy.with_suffix(".txt").write_text(f"a photo of {photo.stem.replace('_', ' ')}\n", "utf-8")
PYTHON
}

for page in "${pages[@]}"; do
    echo "=== $page"
    prepared=
    while IFS= read -r line; do
        command=${line%%   *}  # without the remark that stands apart
        command=${command//--data DIR/--data build/captioned}
        reason=$(why_not "$command")
        if [ -n "$reason" ]; then
            echo "--- not typed: $command ($reason)"
            continue
        fi
        if [ -z "$prepared" ] && [[ $command == mcad-mobile* ]]; then
            prepare
            prepared=1
        fi
        echo "--- $command"
        eval "$command" < /dev/null
    done < <(awk '/^```/ { code = !code } !code && /^    / { print substr($0, 5) }' "$page")
    deactivate
    rm -rf .venv build
done
echo "=== all that can be typed here was"
