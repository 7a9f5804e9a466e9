# shellcheck shell=sh disable=SC2086,SC2154
# Make a release's container beside the one that serves, and print its id; all others go first.
# Begins with mine.sh.
set -eu
release=$2 serving=$3
shift 3
docker rm --force "$project-database" >/dev/null 2>&1 || true
docker ps --all $mine --format '{{.ID}} {{.Label "stagetools.release"}}' |
  while read -r id of; do
    test "$of" = "$serving" || { docker stop "$id" && docker rm "$id"; } >/dev/null
  done
there=$(docker ps --all --quiet $mine | wc -l)
"$@" --no-deps --no-recreate --no-build --scale "web=$((there + 1))" web >&2
docker ps --all --quiet --no-trunc $mine --filter "label=stagetools.release=$release"
