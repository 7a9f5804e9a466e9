# shellcheck shell=sh
# The certificates of a server's proxy, with their keys, from one server to another:
#
#   certificates.sh send DOMAIN…  print the domains' own as a tar file
#   certificates.sh take DOMAIN…  keep such a file's where the proxy looks; what is newer there stays
#   certificates.sh roots         print that of the proxy's own authority, if it has one
set -eu
what=$1
shift
cd "$(docker volume inspect --format '{{.Mountpoint}}' stagetools-proxy_data)"
case $what in
  send)
    mkdir -p caddy/certificates
    for domain; do
      find caddy/certificates -mindepth 3 -type f -path "*/$domain/$domain.*"
    done | tar -c --files-from=-
    ;;
  take)
    for domain; do
      set -- "$@" "caddy/certificates/*/$domain/$domain.*"
      shift
    done
    # 2: it had none of one. A site that comes back finds those that it had when it left, with other keys.
    tar -x --no-same-owner --keep-newer-files --wildcards "$@" 2>/dev/null || test $? = 2
    ;;
  roots)
    file=caddy/pki/authorities/local/root.crt
    test ! -f "$file" || cat "$file"
    ;;
esac
