# shellcheck shell=sh
# Serve nobody here any more, for good: one rename(2), after which visitors are led on (forward.sh).
# The visitors of the container must still wait; exits 67 where they were let go meanwhile.
#
# leave.sh SITE RELEASE CONTAINER HOLD TO NAME
set -eu
release=$2 container=$3 hold=$4 to=$5 name=$6
cd "$1"
exec 7>>"$hold.lock"
flock 7
test "$(readlink current.sock)" = "run/$release.sock" || { echo "$release does not serve any more." >&2; exit 1; }
test "$(cut -d' ' -f1 "$hold" 2>/dev/null)" = "$container" || exit 67
test "$(docker inspect --format '{{.State.Paused}}' "$container")" = true || exit 67
test -S run/moved.sock || { echo "What leads visitors on is gone." >&2; exit 1; }
# It would follow another database as soon as another release serves; the place is the new server's.
for unit in path timer service; do
  systemctl stop "stagetools-replica-$name.$unit" 2>/dev/null || true
done
umask 022
printf 'release=%s\nto=%s\n' "$release" "$to" >moved.new
mv -T moved.new moved
sync -f . moved
rm -rf sent # its proxy sends no static file itself any more; see assets.sh
ln -sfn run/moved.sock next.sock
mv -T next.sock current.sock
sync -f .
