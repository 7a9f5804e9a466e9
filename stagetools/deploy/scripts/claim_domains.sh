# shellcheck shell=sh
# Let the proxy find the installation under these domains, and under no other. Exits $taken and
# prints `<domain> <installation>` when another one has a domain; then nothing was claimed.
set -eu
web=$1 name=$2 tls=$3 limit=$4 taken=$5 hold=$6
shift 6
site=$web/sites/$name
exec 9>/run/lock/stagetools-domains.lock
flock 9
for domain in "$@"; do
  there=$(readlink "$web/hosts/$domain" || true)
  case $there in
    '' | "../sites/$name") ;;
    *) echo "$domain ${there##*/}"; exit "$taken" ;;
  esac
done
printf '%s\n' "$@" >"$site/site"
: >"$site/$limit"
for file in "$site"/max_body_*; do
  test "$file" = "$site/$limit" || rm -f "$file"
done
test -e "$hold" || : >"$site/unheld"
if test "$tls" = yes; then : >"$site/tls"; else rm -f "$site/tls"; fi
for domain in "$@"; do
  ln -sfn "../sites/$name" "$web/hosts/$domain"
done
for link in "$web"/hosts/*; do
  test "$(readlink "$link" || true)" = "../sites/$name" || continue
  domain=${link##*/}
  case " $* " in
    *" $domain "*) ;;
    *) rm -f "$link" ;;
  esac
done
