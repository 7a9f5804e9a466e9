# shellcheck shell=sh
# Remove an installation: containers, images, site, account and files. A last copy of its database
# is made first, by the account itself: it may read nothing that is another's.
set -eu
name=$1 project=$2 home=$3 releases=$4 database=$5 web=$6 kept=$7 stages=$8 away=$9
as() { (cd / && setpriv --reuid "$name" --regid "$name" --clear-groups --inh-caps=-all -- "$@"); }

current=$(readlink "$web/sites/$name/current.sock" || true)
release=${current#run/}
data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/${release%.sock}.env" 2>/dev/null || true)
live=${data:-${database%/*}}/${database##*/}

# What is there must fit before anything is stopped; and again when nobody can write any more, for
# a process that is told to end may well make a sparse file of it first.
fits() {
  size=0
  for suffix in '' -wal; do
    size=$((size + $(stat -c %s "$live$suffix" 2>/dev/null || echo 0)))
  done
  mkdir -p "${kept%/*}"
  free=$(df --output=avail --block-size=1 "${kept%/*}" | tail -n 1)
  test "$size" -le "$free" && return
  echo "$live has $size bytes, and ${kept%/*} has only $free free for the last copy of it.$1" >&2
  exit 1
}
fits ""

units=/etc/systemd/system
for what in backup drill; do
  unit=stagetools-$what-$name
  test -e "$units/$unit.timer" || continue
  systemctl disable --now "$unit.timer"
  systemctl stop "$unit.service"
  rm -f "$units/$unit.timer" "$units/$unit.service"
  systemctl daemon-reload
done
# It writes to the database, too.
replica=$stages/$name/replica
test ! -d "$replica" || sh -euc "$away" away "$replica" "$home/replica" "$name" "$name" "$project-replica"
# A backup or a drill that somebody has begun by hand ends before the account goes that makes it; no
# image goes while a container of it reads.
for lock in lock sending drilling adding; do
  test ! -e "$home/vault/$lock" || flock --wait 60 "$home/vault/$lock" true || true
done
docker rm --force "$name-drill" "$name-backup" >/dev/null 2>&1 || true

for link in "$web"/hosts/*; do
  test "$(readlink "$link" || true)" != "../sites/$name" || rm -f "$link"
done
mine="--filter label=com.docker.compose.project=$project"
# shellcheck disable=SC2086 # two words
{
  docker ps --all --quiet $mine | xargs -r docker stop >/dev/null
  docker ps --all --quiet $mine | xargs -r docker rm --force --volumes >/dev/null
  docker network ls --quiet $mine | xargs -r docker network rm >/dev/null
}

said="it had no database file here"
if test -L "$live" || { test -e "$live" && ! test -f "$live"; }; then
  said="its database is not kept: $live was no file of its own"
elif test -s "$live"; then
  fits " The site was stopped, and its files are all there."
  install -d -m 0700 "$kept"
  to=$kept/$name-$(date -u +%Y%m%d-%H%M%S).sqlite3
  umask 077
  for suffix in '' -wal; do
    if test -f "$live$suffix" && test ! -L "$live$suffix"; then
      as cat "$live$suffix" >"$to$suffix"
    fi
  done
  sync -f "$to"
  said="its database is kept as $to"
fi

rm -rf -- "$web/sites/${name:?}" "$stages/${name:?}"
docker image ls --format '{{.Repository}}:{{.Tag}}' "$name" | xargs -r docker image rm --force >/dev/null
pkill -KILL -u "$name" 2>/dev/null || true # a restic that still reads: its account would stay
userdel "$name" 2>/dev/null || true
rm -rf -- "$home"
echo "$said"
