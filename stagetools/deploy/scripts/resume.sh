# shellcheck shell=sh disable=SC2016
# Let the held release go on; or remove it, where another one serves already. With a third
# word only that hold is undone, and only where no switch has ended it.
set -eu
site=$1 hold=$2 only=${3:-}
exec 7>>"$hold.lock"
flock 7
test -f "$hold" || exit 0
test -z "$only" || test "$(stat -c '%i %.9Z' "$hold")" = "$only" || exit 0
read -r container release <"$hold"
cd "$site"
if test "$(readlink current.sock)" = "run/$release.sock"; then
  docker unpause "$(basename "$site" | tr _ -)-replica" >/dev/null 2>&1 || true
  docker unpause "$container" >/dev/null 2>&1 || true
  test ! -S "run/$release.held" || test -S "run/$release.sock" ||
    mv -T "run/$release.held" "run/$release.sock"
elif test -n "$only"; then
  exit 0 # switched: who did that removes the old one
else
  docker rm --force "$container" >/dev/null 2>&1 || true
fi
rm -rf "run/$release.held" "$hold"
# All who waited come at once, and the socket's queue may be full for a while: only later do
# visitors wait for a stopped site no longer than for one that starts.
setsid sh -euc 'sleep 60; cd "$1"; exec 7>>"$2.lock"; flock 7; test -e "$2" || : >unheld' later \
  "$site" "$hold" </dev/null >/dev/null 2>&1 7>&- 8>&- &
