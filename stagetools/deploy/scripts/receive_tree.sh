#!/bin/bash
# Unpack an upload into a release's directory, which appears whole or not at all:
# receive_tree.sh SOURCE BASE INCOMING DIGEST
#
# Standard input: a line with three lengths in bytes; then the settings, the lines that the
# manifest gains and the list of paths to remove, each ended by a NUL; then a gzipped tar, unless
# it has arrived in the directory INCOMING, with the SHA-256 DIGEST. All files get the time of their
# arrival: BuildKit takes a file of the same size and time for the same file.
# With BASE, the files of that release are the starting point, linked and not copied, and so are
# the other lines of its manifest: all of them would outweigh most changes.
source=$1 base=$2 incoming=$3 digest=$4 part=$1.part archive=
if test -n "$digest"; then
  archive=$incoming/$digest.part
  echo "$digest  $archive" | sha256sum --check --status ||
    { rm -f "$archive"; echo "What arrived is not what was sent: deploy again." >&2; exit 1; }
fi
rm -rf "$part"
if test -n "$base"; then cp -al "$base" "$part"; else mkdir "$part"; fi
IFS=' ' read -r settings listed removed
head -c "$settings" >"$source.env"
head -c "$listed" >"$part.listed"
head -c "$removed" >"$part.removed"
{ if test -n "$base"; then
    tr '\0' '\n' <"$part.removed" |
      LC_ALL=C awk 'part == 1 {gone[$0]; next} !(substr($0, 68) in gone)' part=1 - part=2 "$base.manifest"
  fi; cat "$part.listed"; } >"$source.manifest"
( cd "$part" && xargs -0 -r rm -rf -- ) <"$part.removed"
rm -f "$part.removed" "$part.listed"
tar -x -z -m --no-same-owner --same-permissions --recursive-unlink -C "$part" -f "${archive:--}"
find "$part" -mindepth 1 -type d -empty -delete
rm -rf "$source"; mv -T "$part" "$source"
rm -rf "$incoming" # also of an upload that was cut, and that nobody wants any more
