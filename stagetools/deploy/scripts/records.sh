# shellcheck shell=sh disable=SC2012
# Print every release's record, the newest first, after the size of its image and a tab.
set -eu
cd "$1" 2>/dev/null || exit 0
ls -r -- *.json 2>/dev/null | while read -r file; do
  size=$(docker image inspect --format '{{.Size}}' "$2:${file%.json}" 2>/dev/null || true)
  printf '%s\t%s\n' "$size" "$(cat "$file")"
done
