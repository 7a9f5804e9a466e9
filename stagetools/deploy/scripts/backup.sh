# shellcheck shell=sh disable=SC2016,SC2154
# An installation's backups, as its timers and `inv backup` make them. On the server its values
# and kept.sh stand before this: dir name user home site releases media env base database spare keep to.
#
#   make KIND [SECONDS [later]]  one point in time: the database, the uploads, the environment;
#                     the next one that is made without `later` sends it elsewhere as well
#   drill             read the latest one as if it were restored, and compare
#   unsent STATUS     what `drill` becomes: send what was made while it read elsewhere
#   list, watch, key  what is there, how it stands, what opens it
#   dump ID           a backup as a tar file
#   take RELEASE FROM a database directory for that release: from a backup, a kept copy, `-`, or `clone`
#   uploads ID        bring back what `media` lacks of a backup's
#   push BYTES TOTAL  the same of a tar file on standard input, whose files have so many bytes
#   fetch             on a server in place of a lost one: the newest backup of those elsewhere
#   revive RELEASE ID there, once that release is built: the database, where `data` is
#   count             what the live database and the uploads are, for whoever is to clone them
#   send WHAT         for another stage: `database` or `uploads`; `receive RELEASE` takes the latter
#   sent              what the database held that was sent last
#   arrive RELEASE    on another server: put a database that is sent where that release looks for it
#   files             every upload with its size and time; `pick` takes a list of some, which
#   send picked       sends, `fill` adds to what is there, and `drop` takes a list of and removes
#   keep_vault        take what `send vault` sends: the repository, and the keys of all places
#
# The repository is the account's, in a directory that root alone may enter: restic runs as the
# account, begins inside of it, and so reaches there what no container can. What a site has put
# among its uploads leads it nowhere that the account may not go.
set -eu
umask 077
cd / # wherever root may be: the account cannot go there
vault=$home/vault inside=$home/vault/inside key=$home/vault/key given='' image='' data='' release=''
# What two of these have to do at the same time, each has of its own: see `drill`.
note=$vault/stopped reader=$name-backup guarded='now sent'
disk=$home # what is written is on it; uploads may be on another
engine='' # of a database of the project's own, which has no file here and is in no backup
last='' # a name that ends a tar file which may be cut off

none() { printf '{"bytes": 0, "rows": 0, "tables": {}, "migrations": [], "engine": "%s"}' "$engine"; }
as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }
inside() { (cd "$inside" && as "$@"); }
# As the account, where no link among the uploads is followed: changed in the right moment it could
# lead to what the account may read and the site may not, as the key that restic has in its environment.
# Where the kernel (5.10) or mount(8) does not know the option, it is as for any other command.
tied() {
  if ! unshare --mount true 2>/dev/null; then
    as "$@"
    return
  fi
  unshare --mount --propagation private sh -euc '
    at=$1 user=$2
    shift 2
    { mount --bind "$at" "$at" && mount -o remount,bind,nosymfollow "$at"; } 2>/dev/null || true
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"
  ' tied "$uploads" "$user" "$@"
}
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
    tersely "${by:-as}" timeout "${patience:-5h}" nice -n 19 restic --no-cache --repo repository "$@"
  )
}

# What a command complains of is bounded: a place elsewhere may talk without end, and a site can
# have a million uploads that cannot be read. Whoever goes on then has nobody to talk to.
tersely() {
  { code=$({ { "$@" 2>&1 >&3 3>&- 4>&- && code=0 || code=$?; echo "$code" >&4; } |
    { head -c 65536 >&2; head -c 100000000 >/dev/null; }; } 4>&1); } 3>&1
  return "${code:-1}"
}

# --- the disk -----------------------------------------------------------------------------------

# Bytes that may be written: what is free, but for a part that the sites need meanwhile.
room() { df -Pk "$disk" | awk -v less="$spare" 'NR == 2 {left = $4 * 1024 - less; printf "%.0f", (left > 0 ? left : 0)}'; }

is_room() { # for files, too; some file systems do not count them
  test "$(room)" -gt 0 && ! df -Pi "$disk" | awk 'NR == 2 {few = $2 > 0 && $4 < 20000} END {exit !few}'
}

# Pass on what comes: so many bytes at the most, only while the disk has room, and only while
# something comes. Else the one who takes it finds a sudden end, and `$note` says why.
flow() { # BYTES [SECONDS]
  exec 6<&0
  read -r since _ </proc/uptime
  silence=${2:-1800} had=''
  rm -f "$note"
  head -c "$1" <&6 &
  worker=$!
  exec >/dev/null # the end is there as soon as that ends
  while kill -0 "$worker" 2>/dev/null; do
    is_room || {
      echo "the disk has no more room, but for the $spare bytes that stay free." >"$note"
      kill "$worker"
    }
    comes || {
      echo "nothing has come for $silence seconds." >"$note"
      kill "$worker"
    }
    sleep 0.3
  done
  wait "$worker" || true
  test -e "$note" || test "$(head -c 1 <&6 | wc -c)" = 0 ||
    echo "more comes than the $1 bytes that there may be." >"$note"
}

comes() { # whether the worker has read something in this time; builtins alone, for it is often asked
  { read -r _ has <"/proc/$worker/io"; } 2>/dev/null || return 0
  read -r now _ </proc/uptime
  if test "$has" != "$had"; then had=$has since=$now; fi
  test "$((${now%.*} - ${since%.*}))" -lt "$silence"
}

stopped() { cat "$note" 2>/dev/null || true; }

# A database into a file of the account's: so many bytes, or as many as there is room for. Whoever
# sends one copies and judges it first (seconds_for).
put() { # FILE [BYTES]
  limit=$(room)
  test "${2:-0}" = 0 || limit=$2
  flow "$limit" 15000 | as sh -euc 'cat >"$1"' put "$1"
  test ! -e "$note" || fail "The database did not come whole: $(stopped)"
}

# --- one at a time, and what came of it -------------------------------------------------------

alone() { # LIMIT [WHAT]: what has a state, and could not even begin
  exec 7>>"$vault/lock"
  flock --wait "$1" 7 || cannot_begin "${2:-}"
}

cannot_begin() {
  unable=$1
  test -z "$unable" || test -z "${STAGETOOLS_TIMER:-}" || trap 'missed "$unable"' EXIT
  fail "Another backup or drill runs right now: try again when it is over."
}

# The lock is another's, and so is what lies in `inside`; that one's end may take the state's place.
missed() {
  trap - EXIT
  state=$vault/$1.state began=$(date +%s) ended=$(date +%s)
  good=$(sed -n 's/^good=//p' "$state" 2>/dev/null || true)
  record "$state.missed"
  mail "$state" || true
  exit 1
}

# This lock, and the stage's. Somebody's task is waited for, in the midst of which another database
# may be about to be the live one; but not with this lock in hand, for the task may need that.
# Whoever finds the stage's taken is told by whom (hold_lock.sh).
alone_on_stage() {
  mkdir -p "${base%/*}"
  exec 9>>"$base.lock"
  limit=$(($(date +%s) + $1))
  until alone "$1" backup && flock --nonblock 9; do
    exec 7>&-
    if test "$(date +%s)" -ge "$limit"; then
      alone "$1" backup
      begin backup
      fail "Another task changes $name right now: $(tr '\n' ' ' <"$base.lock.who")"
    fi
    sleep 1
  done
  echo "$$" >"$base.lock.pid"
  echo "a backup copies the database, since $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >"$base.lock.who"
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
  close "$1"
  exit "$1"
}

close() {
  trap - EXIT
  ended=$(date +%s)
  if test "$1" = 0; then good=$ended said=''; else said=${said:-it ended with exit status $1}; fi
  record "$state.new"
  # shellcheck disable=SC2086 # words
  inside rm -rf $guarded # what the lock guards
  test "$1" = 0 || test -z "${STAGETOOLS_TIMER:-}" || mail "$state" || true
}

# The backup is made, and another one may be by the time that this is sent: that one's are the
# state and the directories then, unless this fails.
end_sending() {
  trap - EXIT
  if test "$1" != 0; then
    good=$(sed -n 's/^good=//p' "$state" 2>/dev/null || true)
    ended=$(date +%s) said=${said:-it ended with exit status $1}
    : >"$vault/unsent"
    record "$state.sending"
    test -z "${STAGETOOLS_TIMER:-}" || mail "$state" || true
  fi
  exit "$1"
}

record() { # by way of a file of that name: whole, or not at all
  {
    printf 'began=%s\nended=%s\ngood=%s\n' "$began" "$ended" "$good"
    printf 'said=%s\n' "$(printf %s "$said" | tr -c '[:print:]' ' ' | cut -c1-500)"
  } >"$1"
  mv -T "$1" "$state"
}

# To ADMINS, where the site can send mail; it was nobody's command that failed.
mail() {
  what=${1##*/}
  test -n "$release" || look_at_site || return 0 # it failed before it looked
  container=$(docker ps --quiet --filter "label=stagetools.system=$name" \
    --filter "label=stagetools.release=$release" --filter label=com.docker.compose.oneoff=False)
  timeout 60 docker exec "$container" python -c 'import sys, aaa_script_setup
from django.core.mail import mail_admins
mail_admins(sys.argv[1], sys.argv[2], fail_silently=True)' \
    "The ${what%.state} of $name failed" "$said
inv status says how the backups stand." >/dev/null 2>&1
}

# --- the site -----------------------------------------------------------------------------------

has_moved() { test "$(readlink "$site/current.sock" || true)" = run/moved.sock; }

stays() { # what is here is an old database once the site has moved, and its backups are elsewhere
  ! has_moved ||
    fail "$name has moved to $(sed -n 's/^to=//p' "$site/moved")."
}

look_at_site() {
  current=$(readlink "$site/current.sock" || true)
  release=${current#run/} release=${release%.sock}
  test "$release" != moved || release=$(sed -n 's/^release=//p' "$site/moved")
  test -n "$release" || return 1
  image=$name:$release
  # as root alone has written it
  engine=$(sed -n 's/.*"database": "\([a-z0-9_]*\)".*/\1/p' "$releases/$release.json" 2>/dev/null || true)
  data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/$release.env" 2>/dev/null || true)
  data=${data:-$home/data}
  uploads=$(sed -n 's/^STAGETOOLS_MEDIA=//p' "$releases/$release.env" 2>/dev/null || true)
  uploads=$(readlink -f "${uploads:-$media}") # of a clone that was just switched to
}

# Ask sqlite.py in a container that has nothing but /live, and a directory of ours as /copy. A
# database may be made to take for ever (a FIFO as its journal, a lock that is never given back),
# or all memory (a CHECK): it gets so much, and a time by its size. None of our locks is the client's.
sqlite() {
  docker rm --force "$reader" >/dev/null 2>&1 || true
  answer=$(
    {
      timeout --kill-after=5 "$(seconds_for "$1" "$3")" \
        docker run --rm --interactive --name "$reader" --network none --read-only --cap-drop ALL \
        --security-opt no-new-privileges --pids-limit 64 --cpu-shares 128 --log-driver none \
        --memory 512m --memory-swap 512m --ulimit "fsize=$(room)" \
        --user "$(id -u "$user"):$(id -g "$user")" \
        --volume "$data:/live" ${1:+--volume "$inside/$1:/copy"} \
        "$image" python -I - "$2" "$3" ${4:+"$4"} <"$dir/sqlite.py" 5>&- 7>&- 9>&- && code=0 || code=$?
      echo "ended=$code"
    } | head -c 4000000
  )
  case $answer in
    *ended=0) ;;
    *ended=124 | *ended=137)
      docker rm --force "$reader" >/dev/null 2>&1 || true # it goes on without its client
      answer='{"wrong": "to read it takes longer, or more memory, than a database of its size needs"}'
      ;;
  esac
  printf '%s\n' "${answer%ended=*}"
  case $answer in *ended=0) ;; *) return 1 ;; esac
}

seconds_for() { # ten minutes, and one more for each 600 MB; two hours at the most
  case $2 in /copy/*) file=$inside/$1/${2#/copy/} ;; *) file=$data/${2#/live/} ;; esac
  stat -c %s -- "$file" 2>/dev/null | awk 'BEGIN {most = 600} {most += $1 / 10000000} END {printf "%d", (most > 7200 ? 7200 : most)}'
}

# The live database into a directory in `inside`, if there is room for it.
copy_live() {
  found=$(as stat -c %s -- "$data/$database" 2>/dev/null || echo 0)
  test "$found" -le "$(room)" ||
    fail "The database was not copied: it has $found bytes, and the disk has room for $(room)."
  made=$(sqlite "$1" copy "/live/$database" /copy/database.sqlite3) ||
    fail "The database was not copied: $(wrong "$made")"
}

judge_copy() {
  made=$(sqlite "$1" judge /copy/database.sqlite3) || fail "The database was not copied: $(wrong "$made")"
}

wrong() { # what it said is wrong, or nothing
  printf '%s\n' "$1" | sed -n 's/^{"wrong": "\(.*\)"}$/\1/p' | tail -n 1
}

# --- making one ---------------------------------------------------------------------------------

open_repository() { # and end the locks of a restic that was cut off: this is alone here
  test -s "$vault/key" || fail "The key of the backups is gone: $vault/key."
  all=--remove-all
  ! is_read || all='' # its own lock is not stale
  why=$(repository unlock ${all:+"$all"} --quiet 2>&1 >/dev/null) || case $why in
    *"wrong password"*) fail "The key in $vault/key does not open the backups." ;;
    *) fail "The backups cannot be read: $why" ;;
  esac
}

make() {
  kind=$1
  stays
  alone_on_stage "${2:-3600}"
  begin backup
  look_at_site || fail "No release serves, so there is nothing to back up."
  inside rm -rf now
  is_locked drilling || inside rm -rf drill # of one that was cut off
  inside mkdir now
  # A file that is there is copied whatever the record says of the engine: the site told it that.
  own=$engine
  ! as test -s "$data/$database" || own=''
  test -n "$own" || copy_live now
  write now/environment <"$env"
  exec 9>&- # a deploy that waited begins now
  made=$(none)
  test -n "$own" || judge_copy now
  open_repository
  made=$(printf '%s\n' "$made" | tail -n 1)
  printf '%s\n' "$made" | write now/manifest.json
  printf 'name=%s\nrelease=%s\nmedia=%s\nengine=%s\n' "$name" "$release" "$uploads" "$engine" | write now/about
  size=$(printf '%s\n' "$made" | sed 's/^{"bytes": \([0-9]*\), "rows": \([0-9]*\),.*/\1 \2/')
  measure_uploads
  status=0
  summary=$(archive) || status=$?
  if test "$status" = 3; then # a file was deleted in this moment, perhaps
    status=0
    summary=$(archive) || status=$?
  fi
  case $status in
    0 | 3) ;;
    *) fail "restic could not keep the backup: read its last lines." ;;
  esac
  is_read || keep # it reads what would go; the next one does it
  test -z "$to" || : >"$vault/unsent"
  test -z "$to" || test "${3:-}" = later || send_elsewhere
  test "$status" = 0 || fail "Some uploads cannot be read by $user, and are not in the backup."
  printf '%s\n' "$summary" | sed -n "s/.*\"data_added\":\([0-9]*\),.*\"snapshot_id\":\"\([0-9a-f]\{8\}\).*/made=\2 database=${size% *} rows=${size#* } media=$size_of_uploads added=\1${engine:+ engine=$engine}/p" || true
}

measure_uploads() {
  measured=$(tied find "$uploads" -path "$uploads/.tmp" -prune -o -type f -printf '%s\n' |
    awk '{sum += $1} END {printf "%.0f %.0f", sum, NR}')
  size_of_uploads=${measured% *} number_of_uploads=${measured#* }
}

archive() { # exits 3 where a file could not be read
  # what counts files beforehand, for a progress that nobody sees, goes by absolute paths
  scan=''
  ! restic backup --help | grep -q -e --no-scan || scan=--no-scan
  by=tied repository backup ${scan:+"$scan"} --quiet --json --host "$name" --exclude "$uploads/.tmp" \
    --tag "kind=$kind" --tag "database=${size% *}" --tag "rows=${size#* }" \
    --tag "media=$size_of_uploads" now "$uploads"
}

# A clock that was wrong leaves backups that are dated in the future. restic would keep those, and
# not what was just made: none is removed then, here and elsewhere, and `inv status` says so.
ahead=0
may_forget() { # PROGRAM: repository or remote
  many=$("$1" snapshots --json --no-lock --host "$name" | dated |
    awk -v now="$(date +%s)" -v slack="$slack" '$1 > now + slack {many++} END {print many + 0}')
  test "$many" -le "$ahead" || ahead=$many
  echo "$ahead" >"$vault/ahead.new"
  mv -T "$vault/ahead.new" "$vault/ahead"
  test "$many" = 0 || echo "Some backups are dated in the future ($many), so no old one is removed." >&2
  test "$many" = 0
}

keep() {
  may_forget repository || return 0
  # shellcheck disable=SC2086 # words
  repository forget --quiet --host "$name" --group-by host $keep --prune ||
    fail "The backup was made, but old ones could not be removed: read restic's last lines."
}

# --- elsewhere, as well -------------------------------------------------------------------------

# Those of the environment file, and of what was given to `fetch`, that restic reads for a place
# elsewhere, and no other value.
credentials() {
  while IFS= read -r line; do
    value=${line#*=}
    value=${value#[\"\']}
    test -z "$line" || export "${line%%=*}=${value%[\"\']}"
  done <<END
$({ cat "$env" && printf '\n%s\n' "$given"; } | sed -n -E '/^(AWS|B2|AZURE|GOOGLE|OS|ST|RESTIC_REST)_[A-Z0-9_]+=/p')
END
}

# What reaches `sftp:user@host:/folder` or `sftp://user@host:port/folder`, with the account's own key.
sftp() {
  at=${to#sftp:} port=22
  case $at in
    //*)
      at=${at#//} at=${at%%/*}
      case $at in *:*) port=${at##*:} at=${at%:*} ;; esac
      ;;
    *) at=${at%%:*} ;;
  esac
  echo "ssh -i ssh_key -p $port -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=accept-new -o BatchMode=yes -s -- $at sftp"
}

remote() { elsewhere --repo "$to" "$@"; }

# restic itself tries for a quarter of an hour, where a bucket does not exist or a host is silent.
opened() { { patience=120 remote cat config "$@" >/dev/null; } 2>&1; }

elsewhere() {
  (
    cd "$inside"
    RESTIC_PASSWORD=$(cat "$key") HOME=$inside GOMAXPROCS=1
    RESTIC_FROM_PASSWORD=$RESTIC_PASSWORD
    export RESTIC_PASSWORD RESTIC_FROM_PASSWORD HOME GOMAXPROCS
    credentials
    case $to in sftp:*) set -- -o "sftp.command=$(sftp)" "$@" ;; esac
    tersely as timeout "${patience:-5h}" nice -n 19 restic --cache-dir cache "$@"
  )
}

is_locked() { test -e "$vault/$1" && ! flock --nonblock "$vault/$1" true; }

# By somebody else, so that no backup may go meanwhile.
is_read() { is_locked sending || { test "$guarded" != drill && is_locked drilling; }; }

# It may take hours, in which others may make a backup, restore one, and drill: with a lock of its own.
# Whoever finds that taken leaves a note, and the one who has it sends once more.
send_elsewhere() {
  exec 5>>"$vault/sending"
  if ! flock --nonblock 5; then
    echo "An earlier backup is being sent to $to, or a drill reads there; this one is on the server, and is sent after that." >&2
    return 0
  fi
  ended=$(date +%s) good=$ended said=''
  record "$state.new"
  inside rm -rf now
  trap 'end_sending $?' EXIT
  exec 7>&-
  send_unsent
}

# The lock is given back before each look: whoever finds it taken has left the note before that look.
send_unsent() {
  flock --unlock 5
  while test -e "$vault/unsent" && flock --nonblock 5; do
    rm -f "$vault/unsent"
    send_all
    flock --unlock 5
  done
}

send_all() {
  if ! why=$(opened); then
    case $why in
      *"wrong password"*) fail "The backup is on the server, but $to has another key. If that is of a lost server: inv remove, then inv deploy --restore." ;;
    esac
    patience=300 remote init --quiet --from-repo repository --copy-chunker-params || fail "The backup is on the server, but $to cannot be reached$(hint)"
  fi
  remote unlock --quiet || true # of one that was cut off; else the next line says why
  remote copy --quiet --from-repo repository --host "$name" >&2 ||
    fail "The backup is on the server, but was not sent to $to."
  # shellcheck disable=SC2086 # words
  ! may_forget remote || remote forget --quiet --host "$name" --group-by host $keep --prune ||
    fail "The backup was sent to $to, but old ones could not be removed there."
  date +%s >"$vault/sent.new"
  mv -T "$vault/sent.new" "$vault/sent"
}

hint() {
  case $to in
    sftp:*) printf '. Its authorized_keys must have this line: %s' "$(cat "$inside/ssh_key.pub")" ;;
    *) printf '. Are its credentials in the environment? inv env.list' ;;
  esac
}

# --- trying one ---------------------------------------------------------------------------------

slack=300 # seconds that clocks differ

# `SECONDS ID` of each of what `snapshots` prints, the oldest first.
dated() {
  grep -o '"time":"[^"]*"\|"id":"[0-9a-f]\{64\}"' | cut -d '"' -f 4 | paste -d ' ' - - |
    while read -r at id; do echo "$(date -d "$at" +%s) $id"; done | sort -n
}

newest() { # of those; but one that is dated in the future only where there is no other
  dated | awk -v now="$(date +%s)" -v slack="$slack" '{last = $2} $1 <= now + slack {past = $2}
    END {if (past last != "") print past ? past : last}'
}

snapshots() { # on one line
  found=$(repository snapshots --json --no-lock --host "$name" "$@") || return
  printf '%s' "$found" | tr -d '\n'
}

# It may read for hours, in which nobody waits for it: others make a backup and restore one, and only
# remove no old one. So its lock is its own, and all that it writes. The backups' lock it has until
# the newest database is out of the repository here.
drill() { # [SECONDS]
  stays
  exec 9>>"$vault/drilling"
  flock --wait "${1:-3600}" 9 || cannot_begin drill
  alone "${1:-3600}" drill
  note=$vault/stopped.drill reader=$name-drill guarded=drill mine=''
  begin drill
  trap 'end_drill $?' EXIT
  look_at_site || fail "No release serves, so no image is there to read a database with."
  open_repository
  id=$(snapshots) || fail "The backups cannot be read: read restic's last lines."
  id=$(printf '%s\n' "$id" | newest)
  test -n "$id" || fail "There is no backup yet."
  take_out repository ''
  exec 7>&- # two that write would each count the same free disk
  try_database ''
  uploads=$(sed -n 's/^media=//p' "$inside/drill/now/about")
  read_uploads || fail "The uploads in the backup $(short "$id") cannot be restored."
  repository check --no-lock --quiet >&2 || fail "The repository of the backups is damaged: read restic's last lines."
  echo "$id $(date +%s)" >>"$vault/drilled"
  tail -n 200 "$vault/drilled" >"$vault/drilled.new"
  mv -T "$vault/drilled.new" "$vault/drilled"
  said_of="drilled=$(short "$id") $(printf '%s\n' "$found" | sed -n 's/^{"bytes": \([0-9]*\), "rows": \([0-9]*\),.*/database=\1 rows=\2/p')"
  there='' of_drilled=$engine
  test -z "$to" || drill_elsewhere "${1:-3600}"
  echo "$said_of${of_drilled:+ engine=$of_drilled}$there" || true
}

# Backups that were made while the drill read there were told that they would be sent after it, and
# so they are, whatever it has found; but not where somebody has ended it (a signal's status). Nobody
# who comes from here on finds its locks taken. A shell has but one EXIT, so another one sends.
end_drill() {
  close "$1"
  exec 5>&- 9>&-
  test -z "$mine" || test "$1" -gt 128 || exec sh "$0" unsent "$1"
  exit "$1"
}

send_what_came() { # STATUS, the drill's
  ! has_moved || exit "$1" # and sends from there
  state=$vault/backup.state began=$(sed -n 's/^began=//p' "$vault/backup.state" 2>/dev/null || true)
  exec 5>>"$vault/sending"
  trap 'end_sending $?' EXIT
  trap 'exit 143' TERM HUP INT
  said=''
  send_unsent
  trap - EXIT
  exit "$1"
}

take_out() { # PROGRAM WHERE
  inside rm -rf drill
  inside mkdir drill
  "$1" dump --archive tar "$id" now | flow "$(room)" | inside tar -x -C drill ||
    test -e "$note" || fail "The backup $(short "$id")$2 cannot be read."
  test ! -e "$note" || fail "The backup $(short "$id")$2 could not be read: $(stopped)"
}

try_database() { # WHERE
  data=$inside/drill/now # the live one is no part of this
  engine=$(inside sed -n 's/^engine=//p' drill/now/about) found=$(none)
  test -z "$engine" || inside test -e drill/now/database.sqlite3 || return 0
  found=$(sqlite drill/now compare /copy/database.sqlite3 /copy/manifest.json) ||
    fail "The database in the backup $(short "$id")$1 cannot be restored: $(wrong "$found")"
  inside sh -euc 'rm -f -- drill/now/database.sqlite3*' # all else that is read takes no disk
}

# Other disks decay by themselves. Of what lies elsewhere the newest database is read as if it were
# restored, and a thirteenth of all files: in a quarter of a year each of them was.
drill_elsewhere() {
  exec 5>>"$vault/sending" # who sends removes old ones there, too
  if ! flock --wait "${1:-3600}" 5; then
    echo "A backup is being sent to $to: what lies there is read by the next drill." >&2
    return 0
  fi
  mine=yes
  why=$(opened --no-lock) || fail "The backups on the server are sound, but $to cannot be read: $(printf '%s' "$why" | tail -n 1)"
  id=$(remote snapshots --json --no-lock --host "$name" | newest)
  test -n "$id" || fail "The backups on the server are sound, but $to has none of $name yet."
  take_out remote " in $to"
  try_database " in $to"
  remote check --no-lock --quiet --read-data-subset "$(($(date +%s) / 604800 % 13 + 1))/13" >&2 ||
    fail "The backups on the server are sound, but the repository in $to is damaged: read restic's last lines."
  there=" there=$(short "$id")"
}

read_uploads() { # of a pipe, the shell has the last one's status alone
  repository dump --archive tar "$id" "$uploads" >/dev/null
}

short() { printf '%.8s' "$1"; }

# --- telling ------------------------------------------------------------------------------------

list() {
  there=$(snapshots) || fail "The backups cannot be read: read restic's last lines."
  printf 'now=%s\nsnapshots=%s\n' "$(date +%s)" "$there"
  sed -n 's/^/drilled=/p' "$vault/drilled" 2>/dev/null || true
  ! test -s "$vault/sent" || echo "sent=$(cat "$vault/sent")"
  (cd / && as find "$home/backups" -maxdepth 1 -type f -regextype posix-egrep \
    -regex '.*/(before|replaced)-[-0-9A-Za-z]*[.]sqlite3' \
    -printf 'file=%s %T@ %f\n') || true
}

next() { date -d "$1" +%s 2>/dev/null || true; }

watch() {
  echo "now=$(date +%s)"
  test -s "$vault/installed" || exit 0
  echo "since=$(stat -c %Y "$vault/since")"
  test "$(cat "$vault/installed")" != lost || echo unfinished=yes # see backup_install.sh
  if is_locked lock || is_locked drilling; then echo busy=yes; fi
  ! test -s "$vault/ahead" || echo "ahead=$(cat "$vault/ahead")"
  test -z "$to" || echo "elsewhere=$(cat "$vault/sent" 2>/dev/null || echo 0)"
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
  case $1 in
    before-* | replaced-*)
      set -- "$1.sqlite3" "$1.sqlite3-wal"
      as test -f "$home/backups/$2" || set -- "$1"
      as tar -c -C "$home/backups" --transform 's,^[^-]*-.*[.]sqlite3,now/database.sqlite3,' -- "$@"
      ;;
    *)
      alone 600
      repository dump --archive tar "$1" /
      ;;
  esac
}

# --- bringing one back --------------------------------------------------------------------------

# What it becomes is judged before anybody is asked; and the live one is counted, to say what
# would be lost. Both are printed, a line each.
take() { # RELEASE FROM [BYTES]
  alone 60
  look_at_site || fail "No release serves."
  live=$data to=$home/data-$1
  trap 'test $? = 0 || rm -rf -- "$to"' EXIT
  trap 'exit 143' TERM HUP INT
  rm -rf -- "$to"
  install -d -o "$user" -g "$user" -m 0750 "$to"
  beside=$(as timeout 600 du -sk --exclude "$database*" -- "$live" | cut -f1)
  test "$((${beside:-0} * 1024))" -le "$(room)" ||
    fail "What lies beside the database in $live has $beside kB, and the disk no room for a copy."
  as timeout 3600 find "$live/" -mindepth 1 -maxdepth 1 ! -name "$database*" -exec cp -a -t "$to" {} +
  case $2 in
    - | clone) put "$to/$database" "${3:-}" ;;
    at=*)
      test -f "$dir/replica/replica.sh" || fail "There is no replica on this server: inv deploy sets it up."
      of_moment "${2#at=}"
      ;;
    before-* | replaced-*)
      for suffix in '' -wal; do
        ! as test -f "$home/backups/$2.sqlite3$suffix" ||
          as cp -- "$home/backups/$2.sqlite3$suffix" "$to/$database$suffix"
      done
      ;;
    *)
      open_repository
      repository dump "$2" now/database.sqlite3 | put "$to/$database" "${3:-}"
      ;;
  esac
  data=$to word=settle
  test "$2" != clone || word=receive
  found=$(sqlite '' "$word" "/live/$database") || fail "It cannot be restored: $(wrong "$found")"
  data=$live
  now=$(sqlite '' count "/live/$database") || fail "The live database cannot be read: $(wrong "$now")"
  as sync "$to/$database"
  printf 'found=%s\nlive=%s\n' "$(printf '%s' "$found" | tail -n 1)" "$(printf '%s' "$now" | tail -n 1)"
}

# Whoever writes the replica's place decides how large it is.
of_moment() {
  sh "$dir/replica/replica.sh" restore "$1" "$to" &
  worker=$! full=''
  while kill -0 "$worker" 2>/dev/null; do
    is_room || {
      full=yes
      docker ps --quiet --filter "label=com.docker.compose.project=$(basename "$dir" | tr _ -)-replica" \
        --filter label=com.docker.compose.oneoff=True | xargs -r docker rm --force >/dev/null || true
    }
    sleep 0.5
  done
  wait "$worker" || {
    test -z "$full" || fail "The database of that moment is larger than the disk has room for."
    exit 1
  }
}

# None that is there is replaced, and none is removed. All are whole in a directory of their own
# before one gets its name: half a file, which a full disk leaves, would be there the next time.
uploads() {
  alone 60
  alone_adding
  open_repository
  from=$(repository dump "$1" now/about | sed -n 's/^media=//p')
  test -n "$from" || fail "The backup $(short "$1") cannot be read."
  add restored "The uploads of the backup $(short "$1") could not be brought back" "$(room)" \
    repository dump --archive tar "$1" "$from"
}

# The same with a tar file on standard input, of so many bytes at the most. That may come for hours,
# in which nobody waits for it: a drill reads, and another backup is read.
push() {
  note=$vault/stopped.push
  alone_adding
  from='' most=$(room) last=.tmp/whole
  test "$2" -le "$most" || fail "The files have $2 bytes, and the disk of the uploads has room for $most."
  test "$1" -gt "$most" || most=$1
  add pushed "The files could not be added to the uploads" "$most" cat
}

alone_adding() {
  exec 9>>"$adding"
  flock --wait 60 9 || fail "Other files are being added to the uploads right now: try again when it is over."
  to=$(readlink -f "$media")
  disk=$to
}

add() { # NAME COMPLAINT BYTES COMMAND…: what the command prints, a tar file with all below `from`
  uploads=$to own=$to/.tmp/$1 complaint=$2 most=$3
  shift 3
  tied rm -rf -- "$own" || true # where it cannot be, unpack fails
  if ! unpack "$@" || ! settle; then
    tied rm -rf -- "$own" || true # the disk may be full
    test ! -e "$note" || fail "$complaint: $(stopped)"
    fail "$complaint."
  fi
  tied rm -rf -- "$own"
  echo "uploads=$(wc -c <"$adding.moved")"
  rm -f "$adding".*
}

unpack() { # of a pipe, the shell has the last one's status alone; and tar may find half of one whole
  rm -f "$adding".* "$note"
  tied mkdir -p -m 0700 -- "$to/.tmp" && tied mkdir -p -- "$own/files" || return
  reserve || return
  { "$@" && : >"$adding.whole"; } | flow "$most" |
    tied tar -x -C "$own/files" --skip-old-files --transform "s,^/*${from#/}/*,./," || return
  test -e "$adding.whole" && test ! -e "$note" || return
  # who sends may go between two files, and tar finds that whole
  test -z "$last" || tied rm -- "$own/files/$last"
}

# What is there already has an empty file of its name, so that none of it is written once more. The
# lists are root's: what a container wrote into one would be removed, wherever it lies.
adding=$vault/adding
reserve() {
  tied sh -euc "$look_for" look_for "$to" -type d >"$adding.folders" &&
    tied sh -euc "$look_for" look_for "$to" ! -type d >"$adding.had" &&
    in_files mkdir -p <"$adding.folders" && in_files touch <"$adding.had"
}
settle() {
  in_files rm -f <"$adding.had" && tied sh -euc "$whole" whole "$own" >"$adding.list" &&
    tied sh -euc "$place" place "$own" "$to" "$move" <"$adding.list" >"$adding.moved"
}
in_files() { tied sh -euc 'cd "$1/files"; shift; xargs -0 -r "$@" --' in_files "$own" "$@"; }
look_for='
  cd "$1"
  shift
  find . -path ./.tmp -prune -o "$@" -print0
'
whole='
  cd "$1"
  find files -type d ! -perm -u=rwx -exec chmod u+rwx {} + # else nothing leaves it
  sync --file-system .
  find files -mindepth 1 -print0
'
place='
  cd "$1"
  xargs -0 -r sh -c "$3" move "$2"
  sync --file-system .
'
# A directory that is missing goes with all that it holds. Prints a dot for each file that goes.
move='
  to=$1 status=0
  shift
  for path; do
    test -e "$path" || test -L "$path" || continue
    at=$to/${path#files/} many=""
    ! test -e "$at" && ! test -L "$at" || continue
    if test -L "$path"; then :; elif test -d "$path"; then
      many=$(find "$path" -type f -printf .)
    elif test -f "$path"; then many=.; fi
    mv -nT -- "$path" "$at" || test -e "$at" || status=1
    test -e "$path" || test -L "$path" || printf %s "$many"
  done
  exit "$status"
'

# --- in place of a lost server -------------------------------------------------------------------

# The key comes on standard input, and behind it what the place elsewhere asks for. Once the key
# has opened that place, the repository here is made with it and cuts files as the lost one did:
# what lies elsewhere already is never sent again.
fetch() {
  alone 60
  unserved
  key=$vault/key.given given=$(cat)
  trap 'rm -f "$vault/key.given"' EXIT
  printf '%s\n' "$given" | sed -n 1p | tr -d '\n' >"$key"
  given=$(printf '%s\n' "$given" | sed 1d)
  why=$(opened --no-lock) || refuse_place
  if test -e "$inside/repository/config" && ! cmp -s "$key" "$vault/key"; then
    fail "The server has backups of its own, with another key: remove the installation first (inv remove)."
  fi
  there=$(remote snapshots --json --no-lock --host "$name" | tr -d '\n' | head -c 16000000)
  id=$(printf '%s\n' "$there" | newest)
  test -n "$id" || fail "$to has no backup of $name."
  refuse_more_than_room
  mv -T "$key" "$vault/key"
  key=$vault/key
  if ! test -e "$inside/repository/config"; then
    inside rm -rf repository # without its config it is half of one
    elsewhere --repo repository init --quiet --from-repo "$to" --copy-chunker-params >&2
  fi
  repository unlock --remove-all --quiet >&2
  elsewhere --repo repository copy --quiet --from-repo "$to" "$id" >&2 ||
    fail "The newest backup in $to could not be fetched: read restic's last lines."
  date +%s >"$vault/sent"
  id=$(snapshots | newest) # it has another name here
  found=$(snapshots "$id")
  repository dump "$id" now/environment | head -c 1000000 >"$env.new"
  test -s "$env.new" || fail "The backup has no environment file."
  sync "$env.new"
  unserved # all that took its time
  mv -T "$env.new" "$env"
  printf 'snapshots=%s\n' "$found"
}

# Each is there twice, once as the repository has it; and the database is judged beside itself.
refuse_more_than_room() {
  needed=$((2 * ($(tagged database) + $(tagged media)) + $(tagged database)))
  test "$needed" -le "$(room)" ||
    fail "The newest backup in $to may need $needed bytes here, and the disk has room for $(room)."
}

tagged() { # a number that was written down when it was made: in its tags, which stand before its id
  tags=${there%%'"id":"'"$id"*}
  found=$(printf '%s' "${tags##*'"tags":'}" | sed -n 's/.*"'"$1"'=\([0-9]\{1,15\}\)".*/\1/p')
  echo "${found:-0}"
}

unserved() {
  test "$(readlink "$site/current.sock" || true)" != run/moved.sock || return 0
  ! look_at_site || fail "A release serves here already: its database is in use."
}

refuse_place() {
  case $why in
    *"wrong password"*) fail "The key does not open the backups in $to." ;;
  esac
  echo "$why" >&2
  case $to in
    sftp:*) fail "$to cannot be read$(hint)" ;;
    *) fail "$to cannot be read with these credentials: $(printf '%s\n' "$given" | sed -n 's/=.*//p' | tr '\n' ' ')" ;;
  esac
}

# Judged in a directory of its own, by the release that was just built, and compared with what was
# written down when it was made. What lies where it belongs is kept, though nobody was served it.
revive() {
  alone 60
  unserved
  open_repository
  image=$name:$1 data=$home/data-restored live=$home/data
  rm -rf -- "$data"
  install -d -o "$user" -g "$user" -m 0750 "$data"
  engine=$(repository dump "$2" now/about | sed -n 's/^engine=\([a-z0-9_]*\)$/\1/p')
  test -z "$engine" || {
    rm -rf -- "$data"
    printf 'found=%s\n' "$(none)"
    return 0
  }
  for file in database.sqlite3 manifest.json; do
    repository dump "$2" "now/$file" | put "$data/$file"
  done
  found=$(sqlite '' compare /live/database.sqlite3 /live/manifest.json) ||
    fail "The database in the backup $(short "$2") cannot be restored: $(wrong "$found")"
  found=$(sqlite '' settle /live/database.sqlite3) ||
    fail "The database in the backup $(short "$2") cannot be restored: $(wrong "$found")"
  as sync "$data/database.sqlite3"
  kept=$home/backups/replaced-$(kept_at "$home/backups")-data.sqlite3
  unserved # all that took its time
  for suffix in '' -wal; do
    ! as test -f "$live/$database$suffix" || as mv -T -- "$live/$database$suffix" "$kept$suffix"
  done
  as rm -f -- "$live/$database-shm"
  as mv -T -- "$data/database.sqlite3" "$live/$database"
  as sync "$live"
  rm -rf -- "$data"
  printf 'found=%s\n' "$(printf '%s' "$found" | tail -n 1)"
}

# --- cloning one stage into another ---------------------------------------------------------------

count() {
  alone 60
  look_at_site || fail "No release serves."
  now=$(sqlite '' count "/live/$database") || fail "The live database cannot be read: $(wrong "$now")"
  measure_uploads
  case $(readlink "$media" || true) in
    '' | media-*) moved='' ;;
    *) moved=yes ;;
  esac
  printf 'live=%s\nuploads=%s\nfiles=%s\nmoved=%s\nvault=%s\n' "$(printf '%s' "$now" | tail -n 1)" \
    "$size_of_uploads" "$number_of_uploads" "$moved" "$(inside du -sb repository 2>/dev/null | cut -f1)"
}

# Nothing but what is asked for is printed. What lies among the uploads is the site's own: it is
# read as the account, and links are left out.
send() {
  alone 60
  look_at_site || fail "No release serves."
  trap 'inside rm -rf sent' EXIT
  trap 'exit 143' TERM HUP INT
  inside rm -rf sent
  inside mkdir sent
  case $1 in
    database)
      copy_live sent
      judge_copy sent
      mkdir -p "${counts%/*}" # in memory: whoever is only read from keeps nothing of it
      printf '%s\n' "$made" | tail -n 1 >"$counts"
      inside cat sent/database.sqlite3
      ;;
    picked)
      cd "$inside"
      # what was deleted since it was listed is missed in the next list
      tied tar -c --format=posix -C "$uploads" --null --verbatim-files-from --files-from=picked ||
        test $? -le 2
      ;;
    vault)
      set --
      for one in repository ssh_key ssh_key.pub known_hosts; do
        test ! -e "$inside/$one" || set -- "$@" "./$one"
      done
      # 1: a drill that reads meanwhile has made or removed its lock, which is not sent
      inside tar -c --exclude='./repository/locks/*' "$@" || test $? = 1
      ;;
    uploads)
      cd "$inside"
      tied sh -euc 'find "$1" -path "$1/.tmp" -prune -o -type f -printf "./%P\\0" >sent/list
        exec tar -c -C "$1" --null --verbatim-files-from --files-from=- <sent/list' send "$uploads" ||
        test $? = 1 || fail "Some uploads cannot be read by $user." # 1: one was deleted in this moment
      ;;
  esac
}

# Whoever sends has said how many bytes there would be; it is another server, and may send without end.
receive() { # RELEASE BYTES
  alone 60
  to=$home/media-$1
  trap 'test $? = 0 || { as find "$to/" -mindepth 1 -delete || true; rm -rf -- "$to"; }' EXIT
  trap 'exit 143' TERM HUP INT
  rm -rf -- "$to"
  install -d -o "$user" -g "$user" -m 0750 "$to"
  as mkdir -m 0700 -- "$to/.tmp"
  flow "$2" | as tar -x -C "$to" --no-same-owner || test -e "$note" ||
    fail "The uploads could not be written."
  test ! -e "$note" || fail "The uploads did not come whole: $(stopped)"
  # `send` leaves links out; a server that is not ours may not, and a site would serve what they lead to
  as find "$to/" -mindepth 1 ! -type f ! -type d -delete
  as find "$to" -type f -exec sync -- {} +
  echo "received=$(as find "$to" -type f -printf . | wc -c)"
}

# --- moving to another server ---------------------------------------------------------------------

# Nothing serves here yet. It may have arrived before: in the same directory, which a container has.
arrive() {
  alone 60
  unserved
  image=$name:$1 data=$home/data-$1
  install -d -o "$user" -g "$user" -m 0750 "$data"
  as find "$data/" -mindepth 1 -delete
  put "$data/$database"
  found=$(sqlite '' settle "/live/$database") || fail "The database did not arrive whole: $(wrong "$found")"
  as sync "$data/$database"
  unserved
  printf 'found=%s\n' "$(printf '%s' "$found" | tail -n 1)"
}

files() {
  uploads=$(readlink -f "$media")
  ! look_at_site || test -d "$uploads"
  tied find "$uploads" -path "$uploads/.tmp" -prune -o -type f -printf '%s %T@ %P\0'
}

pick() { write picked; }

fill() {
  unserved
  uploads=$(readlink -f "$media")
  flow "$(room)" | tied tar -x -C "$uploads" --no-same-owner ||
    fail "The uploads could not be written: $(stopped)"
  test ! -e "$note" || fail "The uploads did not come whole: $(stopped)"
  sync -f "$uploads"
}

drop() {
  unserved
  uploads=$(readlink -f "$media")
  write dropped
  tied sh -euc 'cd "$1"; xargs -0 -r rm -f --' drop "$uploads" <"$inside/dropped"
}

# By the account, inside of a directory that no container has; the key's own file is root's.
keep_vault() {
  unserved
  inside rm -rf repository
  flow "$(room)" | inside tar -x --no-same-owner ||
    fail "The backups did not arrive whole: $(stopped)"
  test ! -e "$note" || fail "The backups did not arrive whole: $(stopped)"
}

take_key() {
  unserved
  cat >"$key.new"
  test -s "$key.new"
  mv -T "$key.new" "$key"
}

counts=/run/stagetools/$name.sent
what=$1
shift
case $what in
  make) make "$@" ;;
  drill) drill "$@" ;;
  unsent) send_what_came "$@" ;;
  list) list ;;
  watch) watch ;;
  key) cat "$vault/key" ;;
  dump) dump "$@" ;;
  take) take "$@" ;;
  uploads) uploads "$@" ;;
  push) push "$@" ;;
  fetch) fetch ;;
  revive) revive "$@" ;;
  count) count ;;
  send) send "$@" ;;
  receive) receive "$@" ;;
  sent) cat "$counts" ;;
  arrive) arrive "$@" ;;
  files) files ;;
  pick) pick ;;
  fill) fill ;;
  drop) drop ;;
  keep_vault) keep_vault ;;
  take_key) take_key ;;
esac
