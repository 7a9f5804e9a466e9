# shellcheck shell=sh
# For the script that follows: when a database was replaced, for the name of what is kept of it.
# `prune` keeps the newest by their names. So it is later than those that are there, also where the
# clock was put back, and no two are of one second: the one would take the other's place.
kept_at() { # BACKUPS; `as` is the script's own
  at=$(date -u +%Y%m%d-%H%M%S)
  last=$(as find "$1" -maxdepth 1 -type f -regextype posix-basic \
    -regex '.*/replaced-2[0-9]\{7\}-[0-9]\{6\}-[-0-9A-Za-z]*[.]sqlite3' -printf '%f\n' | cut -c 10-24 | sort | tail -n 1)
  if test "$(printf '%s\n%s\n' "$last" "$at" | sort | tail -n 1)" = "$last"; then
    clock=${last#*-}
    seconds=${clock#????} minutes=${clock#??}
    at=$(date -u -d "${last%-*} ${clock%????}:${minutes%??}:$seconds UTC + 1 second" +%Y%m%d-%H%M%S) || at=$last
  fi
  echo "$at"
}
