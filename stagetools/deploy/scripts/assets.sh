# shellcheck shell=sh
# Keep root's own copies of a release's hashed static files, which the proxy then sends itself,
# and say what the site sends with them. A name's content never changes, so what is there stays.
# They are read from its container, which cannot change them, and nothing is where a container may write: the proxy follows links.
set -eu
export LC_ALL=C
site=$1 release=$2 container=$3 manifest=$4 kinds=$5 most_bytes=$6 most_files=$7
shift 7
umask 022
cd "$site"
mkdir -p static static.of
work=$site/static.new
rm -rf "$work"
trap 'rm -rf "$work"' EXIT

# Room for all of them twice, and the database beside them goes on.
has_room() { test "$(df --output=avail -B 1 . | tail -n 1)" -gt "$((most_bytes * 3))"; }

# What the manifest names of regular files, and their compressed copies.
choose() {
  docker cp "$container:/srv/static" - | head -c "$((most_bytes + 1))" >all.tar
  test "$(stat -c %s all.tar)" -le "$most_bytes" || { echo "the static files have more than $most_bytes bytes"; exit 1; }
  tar -t -v -f all.tar >listed
  tar -x -O -f all.tar static/staticfiles.json | head -c 16777216 >manifest
  test -s manifest
  grep -oE '": "[A-Za-z0-9_@+-][A-Za-z0-9._/@+-]*[.][0-9a-f]{12}[.]('"$kinds"')"' manifest |
    cut -c 5- | tr -d '"' | grep -vE '(^|/)[.]' | sed 'p; s/$/.gz/; p; s/gz$/br/' | sort -u >named
  sed -nE 's#^-[^ ]* +[^ ]+ +[0-9]+ +[^ ]+ +[^ ]+ static/([^ ]+)$#\1#p' listed | sort -u | comm -12 - named >chosen
  test "$(wc -l <chosen)" -le "$most_files" || { echo "there are more than $most_files static files"; exit 1; }
}

take() {
  has_room || { echo "the disk has less than $((most_bytes * 3)) bytes free"; exit 1; }
  mkdir -m 0700 "$work"
  cd "$work"
  choose
  (cd ../static && find . -type f -printf '%P\n' | sort) | comm -23 chosen - | sed 's#^#static/#' >new
  mkdir files
  if test -s new; then
    tar -x -f all.tar -C files --no-same-owner --no-same-permissions --no-recursion --verbatim-files-from -T new
    find files ! -type f ! -type d -delete
    find files -type f -exec chmod 0644 {} +
    find files -type d -exec chmod 0755 {} +
    sync -f files # never half a file under its name, for it is kept for ever
    cp -R -l files/static/. ../static/
  fi
  { sha256sum <manifest | cut -c 1-64; cat chosen; } >of
  cd "$site"
  mv -T "$work/of" "static.of/$release"
}

is_whole() { # LIST: a disk that was full may have lost some
  tail -n +2 "$1" | (cd static && while IFS= read -r file; do test -f "$file" || exit 1; done)
}
there=$(grep -lx -e "$manifest" static.of/* 2>/dev/null | head -n 1 || true)
if test -z "$there" || ! is_whole "$there"; then
  take
elif test "$there" != "static.of/$release"; then
  ln -f -- "$there" "static.of/$release"
fi

# By names, for the proxy reads no file of a site's; see (assets) in its Caddyfile.
rm -rf sent sent.new
mkdir -p "sent.new/=$1/=$2/=$3"
: >"sent.new/=$1/=$2/=$3/=$4"
mv -T sent.new sent
