# shellcheck shell=sh disable=SC1091,SC2012,SC2015
# Print what the steps decide on, one `key=value` a line; changes nothing.
# What lies where the account may write is never opened, and no link there is followed.
set -eu
name=$1 env=$2 releases=$3 site=$4 proxy=$5 home=$6 database=$7 layout=$8 overlays=$9
. /etc/os-release
echo "os=$ID"
echo "os_version=${VERSION_ID:-}"
echo "os_codename=${VERSION_CODENAME:-}"
echo "now=$(date -u +%Y%m%d-%H%M%S)"
echo "newest=$(ls "$releases" 2>/dev/null | sed -n 's/[.]manifest$//p' | tail -n 1)"
echo "cores=$(nproc)"
echo "memory_kb=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
echo "disk_free_kb=$(df -kP / | awk 'NR==2 {print $4}')"
echo "disk_size_kb=$(df -kP / | awk 'NR==2 {print $2}')"
echo "systemd=$(test -d /run/systemd/system && echo yes || true)"
echo "uid=$(id -u "$name" 2>/dev/null || true)"
echo "gid=$(id -g "$name" 2>/dev/null || true)"
echo "env=$(sha256sum <"$env" 2>/dev/null | cut -c1-64 || true)"
echo "backups=$(command -v restic >/dev/null && test -e "$home/vault/inside/repository/config" && cat "$home/vault/installed" 2>/dev/null || true)"
echo "replica=$(cat "$overlays/replica/installed" 2>/dev/null || true)"
echo "home_is_roots=$(test "$(cat "$home/.layout" 2>/dev/null || echo 0)" -ge "$layout" 2>/dev/null && echo yes || true)"
echo "domains=$(test -f "$site/site" && tr '\n' ' ' <"$site/site" || true)"
echo "claimed=$(find "${site%/sites/*}/hosts" -type l -printf '%f=%l ' 2>/dev/null || true)"
current=$(readlink "$site/current.sock" 2>/dev/null || true)
release=${current#run/}
release=${release%.sock}
if test "$release" = moved; then # nothing serves here: see leave.sh
  release=
  sed -n 's/^to=/moved=/p' "$site/moved"
fi
echo "release=$release"
echo "arriving=$(cat "$site/arriving" 2>/dev/null || true)"
data=
if test -n "$release"; then
  # not echo: a dash's reads the backslash of a Windows user's name as an escape
  printf 'record=%s\n' "$(cat "$releases/$release.json" 2>/dev/null || true)"
  data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/$release.env" 2>/dev/null || true)
  data=${data:-${database%/*}}
fi
echo "data_dir=${data:-${database%/*}}"
echo "overlays=$(cat "$overlays/serve.yaml" "$overlays/task.yaml" "$overlays/rehearse.yaml" 2>/dev/null | sha256sum | cut -c1-64)"
echo "database=$(stat -c %s "${data:-${database%/*}}/${database##*/}" 2>/dev/null || true)"
printf 'authority=%s\n' "$(tr '\n' '|' 2>/dev/null <"$proxy/authority.caddy" || true)"
echo "proxy_version=$(cat "$proxy/version" 2>/dev/null || true)"
echo "proxy=$(cat "$proxy/compose.yaml" "$proxy/Caddyfile" 2>/dev/null | sha256sum | cut -c1-64)"
echo "engine=$(cat /srv/stagetools/engine 2>/dev/null || true)"
# All at once: each takes a good part of a tenth of a second, and every task waits for them.
{ docker version --format 'docker={{.Server.Version}}' 2>/dev/null || true; } &
{ docker compose version --short 2>/dev/null | sed 's/^/compose=/' || true; } &
{ docker buildx version >/dev/null 2>&1 && echo buildx=yes || true; } &
# Domains that nobody was ever answered by https: Caddy keeps a certificate in a folder of its name.
uncertified() {
  kept=$(docker volume inspect --format '{{.Mountpoint}}' stagetools-proxy_data 2>/dev/null || true)
  test -n "$kept" && test -e "$site/tls" || return 0
  while read -r domain; do
    set -- "$kept/caddy/certificates/"*/"$domain/$domain.crt"
    test -e "$1" || printf '%s ' "$domain"
  done <"$site/site"
}
{ echo "uncertified=$(uncertified)"; } &
containers=$(docker ps --all --no-trunc --filter label=com.docker.compose.oneoff=False --format \
  '{{if .Label "stagetools.system"}}container={{.ID}} {{.Label "stagetools.system"}} {{.Label "stagetools.release"}} {{.State}} {{.Status}}{{else if eq "stagetools-proxy" (.Label "com.docker.compose.project")}}proxy={{.ID}}{{end}}' \
  2>/dev/null || true)
wait
printf '%s\n' "$containers" | sed -n '/^container=/p'
ours=$(printf '%s\n' "$containers" | sed -n 's/^proxy=//p')
# Which programs have the proxy's ports. A name says nothing of whose a program is: ours is
# what runs in the proxy's own container.
is_ours() {
  for id in $ours; do
    if grep -qF "$id" "/proc/$1/cgroup" 2>/dev/null; then return 0; fi
  done
  return 1
}
held='' taken=''
listeners=$(ss -Hltnp 'sport = :80 or sport = :443' 2>/dev/null | awk '{
  port = $4; sub(/.*:/, "", port); rest = $0
  while (match(rest, /"[^"]*",pid=[0-9]+/)) {
    split(substr(rest, RSTART + 1, RLENGTH - 1), found, "\",pid=")
    rest = substr(rest, RSTART + RLENGTH); gsub(/[^[:graph:]]/, "_", found[1])
    print port "/" found[2] "/" found[1]
  }
}' | sort -u)
for one in $listeners; do
  pid=${one#*/} program=${one##*/}
  if is_ours "${pid%%/*}"; then
    held="$held ${one%%/*}"
  else
    case " $taken " in *" $program "*) ;; *) taken="$taken $program" ;; esac
  fi
done
case "$held " in *" 443 "*"80 "*) echo proxy_runs=yes ;; esac
echo "taken_ports=$taken"
echo "follows_links=$(grep -c 0 /proc/sys/fs/protected_symlinks 2>/dev/null || true)"
