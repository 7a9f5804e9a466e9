# shellcheck shell=sh
# Send all new requests to the release $2: one rename(2), on the disk before this ends.
# Standard input is its record. Where the visitors of the container $held wait, it must still be
# frozen; exits 67 where they were let go meanwhile.
set -eu
release=$2 record=$3 held=$4 env=$5 hold=$6
cd "$1"
if ! test -S "run/$release.sock"; then
  echo "The socket of $release is gone: its own code removed it." >&2
  exit 1
fi
if test -n "$held"; then
  exec 7>>"$hold.lock"
  flock 7
  test "$(cut -d' ' -f1 "$hold" 2>/dev/null)" = "$held" || exit 67
  test "$(docker inspect --format '{{.State.Paused}}' "$held")" = true || exit 67
fi
umask 022
cat >"$record.new"
mv -T "$record.new" "$record"
rm -f "$env.before"
rm -rf sent # what the release before sends with static files; see assets.sh
ln -sfn "run/$release.sock" next.sock
mv -T next.sock current.sock
sync -f . "$record"
