# shellcheck shell=sh disable=SC2010,SC2012
# Remove what no kept release needs. See commands/releases.py for what is kept.
# In directories where the account may write it is the account that removes: names that it chose
# are never words of ours, and no link of its making leads anywhere.
set -eu
name=$1 home=$2 releases=$3 run=$4 assets=$5 backups=$6 serving=$7 keep=$8 snapshots=$9 cache=${10} replica=${11}
stamp='[0-9]\{8\}-[0-9]\{6\}' is_release="$stamp-[0-9a-z]\\{1,\\}"
as() { (cd / && setpriv --reuid "$name" --regid "$name" --clear-groups --inh-caps=-all -- "$@"); }
cd "$releases"
# It follows by itself; but whoever reads that all is done may rely on it.
! test -f "$replica" || sh "$replica" follow || true

# A line for each release that went live, the newest first: its name, the release that was built
# for it, whether it migrated the database, and whether more than its record is there.
launches() {
  ls | grep -x "${is_release}[.]json" | sort -r | while read -r record; do
    release=${record%.json}
    build=$(sed -n 's/.*"origin": "\('"$is_release"'\)".*/\1/p' "$record")
    migrated=no
    ! grep -q '"migrations": \["' "$record" || migrated=yes
    whole=no
    ! test -d "$release" || whole=yes
    echo "$release ${build:-$release} $migrated $whole"
  done
}
chosen=$(launches | awk -v keep="$keep" -v serving="$serving" '
  BEGIN { for (n = split(serving, word, " "); n; n--) kept[word[n]] }
  { release[NR] = $1; build[NR] = $2; migrated[NR] = $3; whole[NR] = $4 == "yes" }
  $1 in kept && $2 "" > current { current = $2 "" }
  $4 == "yes" && !($2 in seen) { seen[$2]; if (++builds <= keep) kept[$1] }
  END {
    for (i = 1; i <= NR; i++) # where a rollback from what serves leads to
      if (whole[i] && build[i] "" < current && build[i] "" > before) { before = build[i] ""; at = release[i] }
    if (at) kept[at]
    for (i = 1; i <= NR; i++)
      if (release[i] in kept && (!oldest || build[i] "" < oldest)) oldest = build[i] ""
    for (of in kept) print "whole", of
    for (i = 1; i <= NR; i++) # a restore asks these which snapshot was made before what
      if (migrated[i] == "yes" && release[i] "" > oldest && !(release[i] in kept)) print "record", release[i]
  }')
kept=" $(printf '%s\n' "$chosen" | sed -n 's/^whole //p' | tr '\n' ' ') "
told=" $(printf '%s\n' "$chosen" | sed -n 's/^record //p' | tr '\n' ' ') "

for path in *; do
  release=${path%%.*}
  expr "$release" : "$is_release\$" >/dev/null || continue
  case $kept in *" $release "*) continue ;; esac
  case $told in *" $release "*) test "$path" != "$release.json" || continue ;; esac
  rm -rf -- "$path"
done

docker image ls --format '{{.Tag}}' "$name" | grep -x "$is_release" | while read -r tag; do
  case $kept in *" $tag "*) ;; *) docker image rm "$name:$tag" >/dev/null || true ;; esac
done

set --
live=" $home/data $home/$(readlink "$home/data" || true) "
for release in $kept; do
  set -- "$@" ! -name "$release.sock" ! -name "$release.held"
  ! test -f "$release.env" || live="$live$(sed -n 's/^STAGETOOLS_DATA=//p' "$release.env") "
done
as find "$run" -mindepth 1 -maxdepth 1 '(' -name '*.sock' -o -name '*.held' ')' "$@" -exec rm -rf -- {} + || true

for release in $serving; do # what serves says where its database is, or none is removed
  test -s "$release.env" || live=unknown
done
forget_but() { # KIND, and in spaces the directories that stay
  for dir in "$home/$1"-*; do
    expr "${dir##*/"$1"-}" : "$is_release\$" >/dev/null || continue
    case $2 in *" $dir "*) continue ;; esac
    test -L "$dir" || as find "$dir" -mindepth 1 -delete || true
    rm -rf -- "$dir"
  done
}
test "$live" = unknown || forget_but data "$live"

# A clone's uploads, and those that it has replaced: one serves, and `media` leads there.
uploads=" $home/$(readlink "$home/media" || true) "
for release in $serving; do
  uploads="$uploads$(sed -n 's/^STAGETOOLS_MEDIA=//p' "$release.env" 2>/dev/null || true) "
done
test "$live" = unknown || forget_but media "$uploads"

oldest=$(ls | grep -x "${is_release}[.]manifest" | head -n 1)
test -z "$oldest" || as find "$assets" ! -type d ! -newermt "@$(stat -c %.9Y "$oldest")" -delete || true

# Those that the proxy sends, in a directory of root's own: see assets.sh.
# A list that is cut short by a full disk would remove what is served: nothing goes then.
if cd "${run%/run}" && rm -rf static.new sent.new && test -d static; then
  for list in static.of/*; do
    case $kept in *" ${list##*/} "*) ;; *) rm -f -- "$list" ;; esac
  done
  if find static.of -type f -exec cat {} + >static.all && LC_ALL=C sort -u static.all >static.kept; then
    (cd static && find . -type f -printf '%P\n') | LC_ALL=C sort | LC_ALL=C comm -23 - static.kept |
      (cd static && xargs -r -d '\n' rm -f --)
  fi
  rm -f static.all static.kept
  find static -mindepth 1 -type d -empty -delete
fi
cd "$releases"

for kind in before replaced; do
  # shellcheck disable=SC2016 # the inner shell's own
  as sh -euc '
    cd "$1"
    find . -maxdepth 1 -regextype posix-basic -type f -regex "[.]/$2-$3-[-0-9a-z]*[.]sqlite3" -printf "%f\0" | sort -rz |
      tail -zn "+$(($4 + 1))" | sed -z "p; s/\$/-wal/; p; s/-wal\$/-shm/" | xargs -0 -r rm -f --
  ' _ "$backups" "$kind" "$stamp" "$snapshots" || true
done

# Uploads that a killed process left half; the longest may take an hour.
as find "$home/media/.tmp" -mindepth 1 -mmin +1440 -delete || true

docker builder prune --force --keep-storage "$cache" >/dev/null 2>&1 || true
