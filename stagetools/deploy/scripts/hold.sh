# shellcheck shell=sh disable=SC2016
# Let visitors wait at the proxy: the socket of the release that serves bears another name.
# It is written down first, in memory: whoever comes next undoes it (resume.sh). After a power
# cut there is nothing to undo, for gunicorn makes its socket anew.
# After `limit` seconds it is undone in any case, whatever has become of the client: the proxy
# lets nobody wait much longer. 0 is no limit.
set -eu
site=$1 release=$2 container=$3 hold=$4 limit=$5 resume=$6
cd "$site"
test "$(readlink current.sock)" = "run/$release.sock" || {
  echo "$release does not serve any more." >&2
  exit 1
}
printf '%s %s\n' "$container" "$release" >"$hold.new"
(
  flock 7 # against a resume whose `unheld` is about to come
  mv -T "$hold.new" "$hold"
) 7>>"$hold.lock"
# From here on the proxy is patient, for new visitors too; the wait is for one who has just
# come, and whom it has already asked for less.
test ! -e unheld || { rm -f unheld; sleep 0.2; }
rm -rf "run/$release.held"
# Where the site's own code has removed it, its visitors wait already.
mv -T "run/$release.sock" "run/$release.held" 2>/dev/null || test ! -e "run/$release.sock"
test "$limit" != 0 || exit 0
# 8 is the lock of the command in fence.py, which the next one waits for
setsid sh -euc 'sleep "$1"; exec sh -c "$2" resume "$3" "$4" "$5"' late \
  "$limit" "$resume" "$site" "$hold" "$(stat -c '%i %.9Z' "$hold")" </dev/null >/dev/null 2>&1 8>&- &
