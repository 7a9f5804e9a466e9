# shellcheck shell=sh
# For the script that follows: a clone's uploads are a directory of its release's own until that
# serves, and from then on the installation's. Whoever holds the lock next finishes what was cut off.
adopt_uploads() { # HOME SITE
  serving=$(readlink "$2/current.sock" || true)
  serving=${serving#run/}
  own=$(sed -n 's/^STAGETOOLS_MEDIA=//p' "$1/releases/${serving%.sock}.env" 2>/dev/null || true)
  test -n "$own" && test -d "$own" || return 0
  test "$(readlink "$1/media" || true)" != "${own##*/}" || return 0
  # a name that prune knows; it is root's directory, and the account can plant nothing there
  test -L "$1/media" || test ! -d "$1/media" ||
    mv -T "$1/media" "$1/media-$(date -u +%Y%m%d-%H%M%S)-replaced"
  ln -sfn "${own##*/}" "$1/media.new"
  mv -T "$1/media.new" "$1/media"
}
