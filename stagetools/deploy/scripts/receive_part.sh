#!/bin/sh
# Append standard input to what has arrived of an archive: receive_part.sh PART HAVE
#
# Only the first HAVE bytes of PART count, and they get an inode of their own: whoever is still
# writing to the file, a client that was stopped and goes on, writes to nobody's. Of other
# archives nothing stays. Root's directory; the lock's holder looks at PART's time of change.
part=$1 have=$2
dir=${part%/*}
install -d -m 0700 "$dir"
find "$dir" -mindepth 1 ! -name "${part##*/}" -delete
if test "$have" -gt 0; then head -c "$have" "$part" >"$part.new"; else : >"$part.new"; fi
mv -T "$part.new" "$part"
cat >>"$part"
