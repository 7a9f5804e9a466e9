# shellcheck shell=sh
# Keep the databases of directories that are not live any more, and let these go.
# Begins with as_account.sh and kept.sh.
set -eu
home=$2 live=$3 name=$4 backups=$5 replica=$6
# What follows one of them follows the live one before they go.
! test -f "$replica" || sh "$replica" follow || true
for dir in "$home/data" "$home"/data-*; do
  if test ! -d "$dir" || test -L "$dir" || test "$dir" = "$live"; then continue; fi
  kept=$backups/replaced-$(kept_at "$backups")-${dir##*/}.sqlite3
  for suffix in '' -wal -shm; do
    file=$dir/$name$suffix
    test -L "$file" || test ! -f "$file" || as mv -T -- "$file" "$kept$suffix"
  done
  as find "$dir/" -mindepth 1 -delete || true
  rm -rf -- "$dir"
done
if test "$live" != "$home/data"; then
  ln -sfn "${live##*/}" "$home/data.new"
  mv -T "$home/data.new" "$home/data"
fi
