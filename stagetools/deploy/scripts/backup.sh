# shellcheck shell=sh disable=SC2016,SC2154
# An installation's backups, as its timers and `inv backup` make them. On the server its values
# stand before this: dir name user home site releases media env base database keep.
#
#   make KIND         one point in time: the database, the uploads, the environment
#   drill             read the latest one as if it were restored, and compare
#   list, watch, key  what is there, how it stands, what opens it
#   dump ID           a backup as a tar file
#
# The repository is the account's, in a directory that root alone may enter: restic runs as the
# account, begins inside of it, and so reaches there what no container can. What a site has put
# among its uploads leads it nowhere that the account may not go.
set -eu
umask 077
cd / # wherever root may be: the account cannot go there
vault=$home/vault inside=$home/vault/inside image='' data='' release=''

as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }
inside() { (cd "$inside" && as "$@"); }
write() { inside sh -euc 'cat >"$1"' write "$1"; }

fail() {
  said=$*
  echo "$*" >&2
  exit 1
}

repository() { # one core at the most, and after everybody else
  (
    cd "$inside"
    RESTIC_PASSWORD=$(cat "$vault/key") HOME=$inside GOMAXPROCS=1
    export RESTIC_PASSWORD HOME GOMAXPROCS
    as nice -n 19 restic --no-cache --repo repository "$@"
  )
}

# --- one at a time, and what came of it -------------------------------------------------------

alone() {
  exec 7>>"$vault/lock"
  flock --wait "$1" 7 || fail "Another backup or drill runs right now: try again when it is over."
}

begin() {
  state=$vault/$1.state said='' began=$(date +%s)
  good=$(sed -n 's/^good=//p' "$state" 2>/dev/null || true)
  printf 'began=%s\ngood=%s\n' "$began" "$good" >"$state.new"
  mv -T "$state.new" "$state"
  trap 'end $?' EXIT
  trap 'exit 143' TERM HUP INT
  trap '' PIPE # whoever listened may have gone: it is no reason to stop
}

end() {
  trap - EXIT
  ended=$(date +%s)
  if test "$1" = 0; then good=$ended said=''; else said=${said:-it ended with exit status $1}; fi
  {
    printf 'began=%s\nended=%s\ngood=%s\n' "$began" "$ended" "$good"
    printf 'said=%s\n' "$(printf %s "$said" | tr -c '[:print:]' ' ' | cut -c1-500)"
  } >"$state.new"
  mv -T "$state.new" "$state"
  inside rm -rf now drill
  test "$1" = 0 || test -z "${STAGETOOLS_TIMER:-}" || mail "$state" || true
  exit "$1"
}

# To ADMINS, where the site can send mail; it was nobody's command that failed.
mail() {
  what=${1##*/}
  container=$(docker ps --quiet --filter "label=stagetools.system=$name" \
    --filter "label=stagetools.release=$release" --filter label=com.docker.compose.oneoff=False)
  timeout 60 docker exec "$container" python -c 'import sys, aaa_script_setup
from django.core.mail import mail_admins
mail_admins(sys.argv[1], sys.argv[2], fail_silently=True)' \
    "The ${what%.state} of $name failed" "$said
inv status says how the backups stand." >/dev/null 2>&1
}

# Whoever finds the lock taken is told by whom (hold_lock.sh). A task of somebody's is waited
# for: in the midst of it another database may be about to be the live one.
hold_stage() {
  mkdir -p "${base%/*}"
  exec 9>>"$base.lock"
  flock --wait "$1" 9 || fail "Another task changes $name right now: $(tr '\n' ' ' <"$base.lock.who")"
  echo "$$" >"$base.lock.pid"
  echo "a backup copies the database, since $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >"$base.lock.who"
}

# --- the site -----------------------------------------------------------------------------------

look_at_site() {
  current=$(readlink "$site/current.sock" || true)
  release=${current#run/} release=${release%.sock}
  test -n "$release" || return 1
  image=$name:$release
  data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/$release.env" 2>/dev/null || true)
  data=${data:-$home/data}
}

# Ask sqlite.py in a container that has nothing but two directories: /live, and /copy.
sqlite() {
  docker rm --force "$name-backup" >/dev/null 2>&1 || true
  docker run --rm --interactive --name "$name-backup" --network none --read-only --cap-drop ALL \
    --security-opt no-new-privileges --pids-limit 64 --cpu-shares 128 --log-driver none \
    --user "$(id -u "$user"):$(id -g "$user")" \
    --volume "$data:/live" --volume "$inside/$1:/copy" \
    "$image" python -I - "$2" "$3" "$4" <"$dir/sqlite.py"
}

wrong() { # what it said is wrong, or nothing
  printf '%s\n' "$1" | sed -n 's/^{"wrong": "\(.*\)"}$/\1/p' | tail -n 1
}

# --- making one ---------------------------------------------------------------------------------

open_repository() { # and end the locks of a restic that was cut off: this is alone here
  test -s "$vault/key" || fail "The key of the backups is gone: $vault/key."
  why=$(repository unlock --remove-all --quiet 2>&1 >/dev/null) || case $why in
    *"wrong password"*) fail "The key in $vault/key does not open the backups." ;;
    *) fail "The backups cannot be read: $why" ;;
  esac
}

make() {
  kind=$1 patience=${2:-3600}
  alone "$patience"
  begin backup
  look_at_site || fail "No release serves, so there is nothing to back up."
  open_repository
  uploads=$(readlink -f "$media")
  inside rm -rf now drill
  inside mkdir now
  hold_stage "$patience"
  look_at_site
  made=$(sqlite now copy "/live/$database" /copy/database.sqlite3) ||
    fail "The database was not copied: $(wrong "$made")"
  write now/environment <"$env"
  exec 9>&-
  made=$(printf '%s\n' "$made" | tail -n 1)
  printf '%s\n' "$made" | write now/manifest.json
  printf 'name=%s\nrelease=%s\nmedia=%s\n' "$name" "$release" "$uploads" | write now/about
  size=$(printf '%s\n' "$made" | sed 's/^{"bytes": \([0-9]*\), "rows": \([0-9]*\),.*/\1 \2/')
  size_of_uploads=$(as find "$uploads" -path "$uploads/.tmp" -prune -o -type f -printf '%s\n' |
    awk '{sum += $1} END {printf "%.0f", sum}')
  # what counts files beforehand, for a progress that nobody sees, goes by absolute paths
  scan=''
  ! restic backup --help | grep -q -e --no-scan || scan=--no-scan
  missing=no
  summary=$(repository backup ${scan:+"$scan"} --quiet --json --host "$name" --exclude "$uploads/.tmp" \
    --tag "kind=$kind" --tag "database=${size% *}" --tag "rows=${size#* }" \
    --tag "media=$size_of_uploads" now "$uploads") || case $? in
    3) missing=yes ;;
    *) fail "restic could not keep the backup: read its last lines." ;;
  esac
  keep
  test "$missing" = no || fail "Some uploads cannot be read by $user, and are not in the backup."
  printf '%s\n' "$summary" | sed -n "s/.*\"data_added\":\([0-9]*\),.*\"snapshot_id\":\"\([0-9a-f]\{8\}\).*/made=\2 database=${size% *} rows=${size#* } media=$size_of_uploads added=\1/p" || true
}

keep() {
  # shellcheck disable=SC2086 # words
  repository forget --quiet --host "$name" --group-by host $keep --prune ||
    fail "The backup was made, but old ones could not be removed: read restic's last lines."
}

# --- trying one ---------------------------------------------------------------------------------

snapshots() { # on one line
  found=$(repository snapshots --json --no-lock --host "$name" "$@") || return
  printf '%s' "$found" | tr -d '\n'
}

drill() {
  alone "${1:-3600}"
  begin drill
  look_at_site || fail "No release serves, so no image is there to read a database with."
  open_repository
  id=$(snapshots --group-by host --latest 1) ||
    fail "The backups cannot be read: read restic's last lines."
  id=$(printf '%s\n' "$id" | sed -n 's/.*"id":"\([0-9a-f]\{64\}\)".*/\1/p')
  test -n "$id" || fail "There is no backup yet."
  inside rm -rf drill
  inside mkdir drill
  repository dump --archive tar "$id" now | inside tar -x -C drill ||
    fail "The backup $(short "$id") cannot be read."
  data=$inside/drill/now # the live one is no part of this
  found=$(sqlite drill/now compare /copy/database.sqlite3 /copy/manifest.json) ||
    fail "The database in the backup $(short "$id") cannot be restored: $(wrong "$found")"
  uploads=$(sed -n 's/^media=//p' "$inside/drill/now/about")
  read_uploads || fail "The uploads in the backup $(short "$id") cannot be restored."
  repository check --quiet >&2 || fail "The repository of the backups is damaged: read restic's last lines."
  echo "$id $(date +%s)" >>"$vault/drilled"
  tail -n 200 "$vault/drilled" >"$vault/drilled.new"
  mv -T "$vault/drilled.new" "$vault/drilled"
  echo "drilled=$(short "$id") $(printf '%s\n' "$found" | sed -n 's/^{"bytes": \([0-9]*\), "rows": \([0-9]*\),.*/database=\1 rows=\2/p')" || true
}

read_uploads() { # of a pipe, the shell has the last one's status alone
  repository dump --archive tar "$id" "$uploads" >/dev/null
}

short() { printf '%.8s' "$1"; }

# --- telling ------------------------------------------------------------------------------------

list() {
  there=$(snapshots) || fail "The backups cannot be read: read restic's last lines."
  printf 'snapshots=%s\n' "$there"
  sed -n 's/^/drilled=/p' "$vault/drilled" 2>/dev/null || true
  (cd / && as find "$home/backups" -maxdepth 1 -type f '(' -name 'before-*.sqlite3' -o -name 'replaced-*.sqlite3' ')' \
    -printf 'file=%s %T@ %f\n') || true
}

next() { date -d "$1" +%s 2>/dev/null || true; }

watch() {
  echo "now=$(date +%s)"
  test -s "$vault/installed" || exit 0
  echo "since=$(stat -c %Y "$vault/since")"
  test ! -e "$vault/lock" || flock --nonblock "$vault/lock" true || echo busy=yes
  for what in backup drill; do
    sed -n "s/^[a-z]*=/$what.&/p" "$vault/$what.state" 2>/dev/null || true
    unit=stagetools-$what-$name.timer
    calendar=$(sed -n 's/^OnCalendar=//p' "/etc/systemd/system/$unit" 2>/dev/null || true)
    test -n "$calendar" || continue
    echo wanted=yes
    echo "$what.timer=$(systemctl is-active "$unit" || true)"
    echo "$what.next=$(next "$(systemctl show --property NextElapseUSecRealtime --value "$unit")")"
    echo "$what.gap=$(systemd-analyze calendar --iterations=8 "$calendar" | sed -n 's/^ *\(Next elapse\|Iter.*#[0-9]*\): //p' |
      while read -r at; do next "$at"; done | awk 'NR > 1 && $1 - last > most {most = $1 - last} {last = $1} END {print most + 0}')"
  done
}

dump() {
  alone 600
  repository dump --archive tar "$1" /
}

what=$1
shift
case $what in
  make) make "$@" ;;
  drill) drill "$@" ;;
  list) list ;;
  watch) watch ;;
  key) cat "$vault/key" ;;
  dump) dump "$@" ;;
esac
