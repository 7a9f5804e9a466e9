#!/bin/bash
# shellcheck disable=SC2016
# Hold an installation's lock while its client is heard from, and undo what it leaves half done.
#
# hold_lock.sh BASE WHO SILENCE WAIT TOKEN HOME SITE CONTAINER USER MOVED DATABASE BACKUPS REPLICA RETIRE
#
# A site that has moved to another server is refused without MOVED, for here lies an old database;
# and one that is about to come here, for an empty one would serve in its place.
# Begins with adopt_uploads.sh. Says `held`, or why not (exit 75). BASE is /run/stagetools/NAME; beside it lie
#   .lock   flock(1) of the one task that may change the installation
#   .work   flock(1), shared, of each command that changes it; see fence.py
#   .token  whose commands may run: the client's that has the lock; `gone` while we clean up
#   .hold   "<container> <release>": visitors wait, and that container is paused
# A client that is gone ends this process's standard input. A dropped network ends nothing by
# itself, so SILENCE seconds without a line, or a byte of an upload, count as gone, too.
set -eu
base=$1 who=$2 silence=$3 wait=$4 token=$5 home=$6 site=$7 container=$8 user=$9 moved=${10}
database=${11} backups=${12} replica=${13} retire=${14} # the last one begins with as_account.sh
patience=30 # seconds for a command of a task that is gone

take_lock() {
  flock --wait "$wait" 9 && return
  flock --wait 1 9 && return # its holder may be about to notice that its client is gone
  case $(cat "$base.token" 2>/dev/null) in
    ''|gone) flock --wait "$((patience + 5))" 9 ;; # the one before is only cleaning up
    *) return 1 ;;
  esac
}

end_migration() { docker rm --force "$container" >/dev/null 2>&1 || true; }

# Wait until no command of a task that is gone runs any more; then undo what it left.
settle() {
  exec 8>>"$base.work"
  local end=$((SECONDS + patience))
  until flock --exclusive --wait 1 8; do
    test "$SECONDS" -lt "$end" || return 1
    end_migration
  done
  recover
}

recover() {
  test ! -f "$home/env.before" || mv -T "$home/env.before" "$home/env"
  adopt_uploads "$home" "$site"
  forget_way_on
  if test -f "$base.hold"; then
    undo_hold
  else # after a power cut the release has a new socket, and this is nobody's
    rm -f -- "$site/run/"*.held 2>/dev/null || true
  fi
  forget_unserved || true
  retire_replaced || true
}

# Between a switch to another database and its end somebody was cut off: the release from before
# goes, and its database is kept, before a later task takes it for one of no use.
retire_replaced() {
  local serving live id its
  serving=$(readlink "$site/current.sock" || true)
  serving=${serving#run/} serving=${serving%.sock}
  live=$(sed -n 's/^STAGETOOLS_DATA=//p' "$home/releases/$serving.env" 2>/dev/null || true)
  test -n "$live" && test -d "$live" && test -d "$home/data" || return 0
  test "$(readlink -f "$home/data")" != "$(readlink -f "$live")" || return 0
  docker ps --all --filter "label=com.docker.compose.project=${container%-database}" \
    --filter label=com.docker.compose.oneoff=False --format '{{.ID}} {{.Label "stagetools.release"}}' |
    while read -r id its; do
      test "$its" != "$serving" || continue
      docker stop --time 10 "$id" >/dev/null && docker rm --force "$id" >/dev/null || true
    done
  sh -euc "$retire" retire "$user" "$home" "$live" "$database" "$backups" "$replica"
}

# What was to lead visitors on to another server, and the site stayed (leave.sh).
forget_way_on() {
  if test ! -e "$site/run/moved.sock" || test "$(readlink "$site/current.sock")" = run/moved.sock; then return 0; fi
  docker rm --force "${container%-database}-moved" >/dev/null 2>&1 || true
  rm -f "$site/moved" "$site/run/moved.sock"
}

as() { (cd / && setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"); }

# A database and uploads that were filled for a release which then never served: after a clone
# that was cut off they are another stage's, as they came. A release has its record before it
# serves. Uploads that a clone has replaced are `prune`'s.
forget_unserved() {
  local serving dir release
  serving=$(readlink "$site/current.sock" || true)
  serving=${serving#run/} serving=${serving%.sock}
  test -s "$home/releases/$serving.env" || return 0 # nobody says where the live ones are
  for dir in "$home"/data-* "$home"/media-*; do
    release=${dir##*/} release=${release#*-}
    [[ $release =~ ^[0-9]{8}-[0-9]{6}-[0-9a-z]+$ && $release != *-replaced ]] || continue
    if test ! -d "$dir" || test -L "$dir" || is_kept "$dir" "$release"; then continue; fi
    docker ps --all --quiet --filter "label=com.docker.compose.project=${container%-database}" \
      --filter "label=stagetools.release=$release" | xargs -r docker rm --force >/dev/null || true
    as find "$dir" -mindepth 1 -delete || true
    rm -rf -- "$dir"
  done
}

# Whether a link, what serves, or a release that went live once leads to the directory.
is_kept() { # DIR RELEASE
  local link env of
  test "$2" != "$serving" || return 0
  test ! -e "$home/releases/$2.json" || return 0
  for link in data media; do
    test "$(readlink "$home/$link" || true)" != "${1##*/}" || return 0
  done
  for env in "$home"/releases/*.env; do
    grep -qxF -e "STAGETOOLS_DATA=$1" -e "STAGETOOLS_MEDIA=$1" -- "$env" || continue
    of=${env##*/} of=${of%.env}
    if test "$of" = "$serving" || test -e "$home/releases/$of.json"; then return 0; fi
  done
  return 1
}

undo_hold() {
  local old="" release=""
  read -r old release <"$base.hold" || true
  local run="$site/run/$release"
  if test "$(readlink "$site/current.sock")" = "run/$release.sock"; then
    docker unpause "${container%-database}-replica" >/dev/null 2>&1 || true
    docker unpause "$old" >/dev/null 2>&1 || true # it is not paused after a restart
    test -e "$run.sock" || mv -T "$run.held" "$run.sock" 2>/dev/null || true
  elif test -n "$old"; then # another release serves, on another database
    docker rm --force "$old" >/dev/null 2>&1 || true
    rm -f "$run.held"
  fi
  rm -f "$base.hold"
  # as resume.sh does, and why; a site that was removed meanwhile has no such directory
  setsid sh -euc 'sleep 60; cd "$1"; exec 7>>"$2.lock"; flock 7; test -e "$2" || : >unheld' later \
    "$site" "$base.hold" </dev/null >/dev/null 2>&1 8>&- 9>&- &
}

# A line from a slow client waits behind its upload: the bytes of that are as good.
upload_comes() {
  test -n "$(find "$home/incoming" -name '*.part' -newermt "-$silence seconds" 2>/dev/null)"
}

finish() {
  trap '' TERM HUP INT PIPE
  test "$(cat "$base.token")" = "$token" || return 0
  echo gone >"$base.token" # no further command of our client begins
  test "$over" = yes || end_migration
  if settle; then rm -f "$base.token"; fi
}

mkdir -p "${base%/*}"
exec 9>>"$base.lock"
take_lock || { tr '\n' ' ' <"$base.lock.who"; echo; exit 75; }
from=${SSH_CONNECTION:+ from ${SSH_CONNECTION%% *}}
echo "$$" >"$base.lock.pid"; echo "$who$from" >"$base.lock.who"
test ! -s "$base.token" || end_migration # its holder was killed before it could
settle || { echo "a command of the task before still runs: inv unlock ends it"; exit 75; }
if test -z "$moved" && test -s "$site/arriving"; then
  echo "arriving $(cat "$site/arriving")"
  exit 75
fi
if test -z "$moved" && test "$(readlink "$site/current.sock" || true)" = run/moved.sock; then
  sed -n 's/^to=/moved /p' "$site/moved"
  exit 75
fi
over=no
trap finish EXIT
trap 'exit 143' TERM HUP INT PIPE
echo "$token" >"$base.token"
exec 8>&-
echo held
while IFS= read -r -t "$silence" line || { test $? -gt 128 && upload_comes; }; do
  case $line in
    '') ;;
    .) over=yes; break ;;
    *) printf '%s\n' "$who$from" "now: $line" >"$base.lock.who" ;;
  esac
done
