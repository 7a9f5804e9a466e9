# shellcheck shell=sh disable=SC2016,SC2154
# The replica of an installation's database. On the server its values stand before this: own
# meta name user container home site releases env base database url place.
#
#   follow          let Litestream follow the database that is live now, and no other
#   tend            the same, from time to time; and see that the disk stays bounded
#   pause           let it write nothing: somebody copies the database's files
#   watch           how it stands
#   reach           can its place be read?
#   end             end it, until the next deploy
#   restore AT DIR  the database as it was at that moment, into a directory of the account's
#
# systemd runs `follow` whenever another release serves, and so it needs no task to be told of
# another database, and none that was cut off can leave it with an old one.
set -eu
umask 077
cd /
as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }

look_at_site() {
  current=$(readlink "$site/current.sock" || true)
  release=${current#run/} release=${release%.sock}
  test -n "$release" || return 1
  data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/$release.env" 2>/dev/null || true)
  data=${data:-$home/data}
}

compose() {
  at=$url host_key=''
  set -- --env-file "$env" "$@"
  if test -n "$place"; then
    at=file:///place
    set -- --file "$own/replica_place.yaml" "$@"
  fi
  ! test -s "$own/host_key" || host_key=$(cat "$own/host_key")
  env STAGETOOLS_REPLICA="$container" STAGETOOLS_SYSTEM="$name" STAGETOOLS_OWN="$own/files" \
    STAGETOOLS_USER="$(id -u "$user"):$(id -g "$user")" STAGETOOLS_DATABASE="$database" \
    STAGETOOLS_DATA="$data" STAGETOOLS_META="$meta/${data##*/}" STAGETOOLS_URL="$at" \
    STAGETOOLS_PLACE="$place" STAGETOOLS_HOST_KEY="$host_key" \
    docker compose --progress quiet --project-name "$container" --project-directory "$own" \
    --file "$own/replica.yaml" "$@"
}

# In a container that goes with the command: litestream WORDS… , or with a directory at /copy.
litestream() {
  set -- litestream "$@"
  test -z "${copy:-}" || set -- --volume "$copy:/copy" "$@"
  compose run --rm --no-deps --no-TTY "$@" </dev/null
}

state() { docker ps --all --filter "name=^$container\$" --format '{{.State}}'; }

is_there() { # a database that one can follow
  as test -s "$data/$database" && ! as test -L "$data/$database"
}

make_room() { # what it remembers of other databases goes; whoever takes it over reaches nothing
  install -d -o root -g "$user" -m 0750 "$meta"
  for dir in "$meta"/*; do
    if test "$dir" = "$meta/${data##*/}" || ! test -d "$dir"; then continue; fi
    as find "$dir/" -mindepth 1 -delete || true
    rm -rf -- "$dir"
  done
  install -d -o "$user" -g "$user" -m 0700 "$meta/${data##*/}"
}

followed() { cut -d' ' -f1 "$own/follows" 2>/dev/null || true; }

follow() {
  test -e "$own/ready" || return 0 # its place was never reached, and whoever asks again and again is locked out
  for _ in 1 2 3; do # another one may serve by the time that it runs
    look_at_site || return 0
    want="$data $(sha256sum <"$env" | cut -c1-64)"
    found=$(state)
    if test "$found" = paused && test "$(followed)" = "$data" && ! test -e "$base.hold"; then
      docker unpause "$container" >/dev/null || true # whoever copied it was cut off
    fi
    case $found in
      running | restarting | paused) test "$(cat "$own/follows" 2>/dev/null)" != "$want" || return 0 ;;
    esac
    if test "$(followed)" = "$data"; then
      test ! -e "$base.hold" || return 0 # somebody copies it
    else
      docker rm --force "$container" >/dev/null 2>&1 || true
    fi
    is_there || return 0
    make_room
    compose up --detach >&2
    printf '%s\n' "$want" >"$own/follows.new"
    mv -T "$own/follows.new" "$own/follows"
  done
}

# While its place cannot be reached, what is to be sent waits on the disk: up to this, in kB. Then
# that is forgotten; once the place is there again it gets the whole database.
tend() {
  look_at_site || return 0
  follow
  dir=$meta/${data##*/}
  used=$(as du -sk "$dir" 2>/dev/null | cut -f1) size=$(as du -sk "$data" 2>/dev/null | cut -f1)
  if test "${used:-0}" -gt "$((1024 * 1024 + 2 * ${size:-0}))"; then
    docker rm --force "$container" >/dev/null 2>&1 || true
    as find "$dir/" -mindepth 1 -delete || true
    follow
  fi
}

pause() {
  test -e "$base.hold" || return 0 # its visitors were let go meanwhile, and nobody would end it
  case $(state) in
    running) docker pause "$container" >/dev/null ;;
    restarting) docker kill "$container" >/dev/null ;;
  esac
}

reach() {
  look_at_site || data=$home/data
  make_room
  litestream ltx -config /replica/litestream.yaml -level 9 "/live/$database" >/dev/null
}

line() { tr -c '[:print:]' ' ' | cut -c1-2000; } # of what a container says

watch() {
  echo "url=$url"
  found=$(state)
  echo "state=$found"
  look_at_site || return 0
  ! test "$(followed)" = "$data" || echo follows=yes
  ask="timeout 15 docker exec $container litestream"
  if test "$found" = running; then
    listed=$($ask list -json -socket /tmp/litestream.sock 2>/dev/null | line) || true
    echo "now=$(date +%s)"
    echo "listed=$listed"
    said=$($ask sync -wait -timeout 10 -socket /tmp/litestream.sock "/live/$database" 2>&1) ||
      printf 'said=%s\n' "$(printf '%s' "${said:-it does not answer}" | tail -n 1 | line | cut -c1-300)"
  fi
}

# What Litestream would take; its own list of files has other times where they were sent late.
plan() {
  planned=$(litestream restore -config /replica/litestream.yaml -dry-run -json "$@" \
    -o "/copy/$database" "/live/$database" 2>&1)
}

began() {
  litestream ltx -config /replica/litestream.yaml -level all "/live/$database" 2>/dev/null |
    awk '$1 ~ /^[0-9]$/ && (!first || $5 "" < first) { first = $5 "" } END { print first }'
}

# The last state before $1. After the last change there is none of that time, and it is the latest.
restore() {
  look_at_site || data=$home/data
  make_room
  copy=$2
  set -- "$1" -timestamp "$1"
  if ! plan -timestamp "$1"; then
    first=$(began)
    if test -n "$first" && test "$(printf '%s\n' "$1" "$first" | sort | head -n 1)" = "$1"; then
      planned="the replica begins at $(echo "$first" | tr TZ '  ')UTC."
      return 1
    fi
    case $planned in
      *"timestamp does not exist"*) ;;
      *"no backups found"* | *"no matching backup"*) planned="nothing has been sent to $url yet." && return 1 ;;
      *) return 1 ;;
    esac
    set -- "$1"
    plan || return 1
  fi
  shift
  found=$planned
  # whoever asks whether we fail has switched `set -e` off
  planned=$(litestream restore -config /replica/litestream.yaml "$@" -o "/copy/$database" "/live/$database" 2>&1) || return 1
  printf '%s\n' "$found" | sed -n 's/.*"timestamp": "\([-0-9]*T[:0-9]*\)[.0-9]*Z".*/copied=\1Z/p' | sort | tail -n 1
}

what=$1
shift
case $what in
  follow | tend | pause)
    exec 7>>"$own/lock"
    flock 7
    "$what"
    ;;
  watch | reach) "$what" ;;
  end) docker rm --force "$container" >/dev/null 2>&1 || true ;;
  restore)
    restore "$@" || {
      printf '%s\n' "${planned:-Litestream cannot read $url.}" | tail -n 1 | line >&2
      exit 1
    }
    ;;
esac
