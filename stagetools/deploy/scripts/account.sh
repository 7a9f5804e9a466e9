# shellcheck shell=sh
# The installation's account, its directories and its secrets; says `created` for what was missing.
# The home is root's: what the account may write are directories in it, which it can neither
# rename nor replace by a link. A home of 0.1.0, which was the account's, is brought to that.
set -eu
name=$1 home=$2 env=$3 releases=$4 site=$5 layout=$6 media=$7
shift 7
if ! id -u "$name" >/dev/null 2>&1; then
  useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$name"
  echo "created user $name"
fi
install -d -m 0755 /srv/stagetools /srv/stagetools/web /srv/stagetools/web/sites \
  /srv/stagetools/web/hosts "$site"
# Sticky, and everybody's: there the kernel lets nobody follow a link that the account made
# (fs.protected_symlinks), and nobody take away what another one has.
install -d -o root -g root -m 1777 "$site/run"
install -d -o root -g "$name" -m 0750 "$home"
for directory in "$media" "$@"; do # one that is a link was put there by root: on another disk, perhaps
  test -L "$directory" || install -d -o "$name" -g "$name" -m 0750 "$directory"
done
# Uploads in flight, beside those that are kept; where there is no such place they are in memory.
(cd / && setpriv --reuid "$name" --regid "$name" --clear-groups --inh-caps=-all -- \
  mkdir -p -m 0700 -- "$media/.tmp") || true
for own in "$releases" "$env"; do
  if test -L "$own"; then
    echo "$own is a link, and should be no link: look where it leads, and remove it." >&2
    exit 1
  fi
done
install -d -o root -g root -m 0755 "$releases"
if test -s "$env"; then
  chown root:root "$env"
  chmod 0600 "$env"
else
  umask 077
  printf 'SECRET_KEY="%s"\n' "$(head -c 48 /dev/urandom | base64 -w0 | tr '+/' '-_')" >"$env.new"
  sync "$env.new"
  mv -T "$env.new" "$env"
  echo "created secrets"
fi
if test "$(cat "$home/.layout" 2>/dev/null || true)" != "$layout"; then
  printf '%s\n' "$layout" >"$home/.layout.new"
  chmod 0644 "$home/.layout.new"
  mv -T "$home/.layout.new" "$home/.layout"
  echo "created directories"
fi
