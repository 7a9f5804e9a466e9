# shellcheck shell=sh disable=SC1091,SC2012,SC2015
# Print what the steps decide on, one `key=value` a line; changes nothing.
# What lies where the account may write is never opened, and no link there is followed.
set -eu
name=$1 env=$2 releases=$3 site=$4 proxy=$5 home=$6 database=$7 layout=$8
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
echo "home_is_roots=$(test "$(cat "$home/.layout" 2>/dev/null || echo 0)" -ge "$layout" 2>/dev/null && echo yes || true)"
echo "domains=$(test -f "$site/site" && tr '\n' ' ' <"$site/site" || true)"
echo "claimed=$(find "${site%/sites/*}/hosts" -type l -printf '%f=%l ' 2>/dev/null || true)"
current=$(readlink "$site/current.sock" 2>/dev/null || true)
release=${current#run/}
release=${release%.sock}
echo "release=$release"
data=
if test -n "$release"; then
  # not echo: a dash's reads the backslash of a Windows user's name as an escape
  printf 'record=%s\n' "$(cat "$releases/$release.json" 2>/dev/null || true)"
  data=$(sed -n 's/^STAGETOOLS_DATA=//p' "$releases/$release.env" 2>/dev/null || true)
  data=${data:-${database%/*}}
fi
echo "data_dir=$data"
echo "database=$(stat -c %s "${data:-${database%/*}}/${database##*/}" 2>/dev/null || true)"
echo "taken_ports=$(ss -Hltnp 'sport = :80 or sport = :443' 2>/dev/null |
  sed -n 's/.*users:(("\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' ')"
printf 'authority=%s\n' "$(tr '\n' '|' 2>/dev/null <"$proxy/authority.caddy" || true)"
echo "proxy_version=$(cat "$proxy/version" 2>/dev/null || true)"
echo "proxy=$(cat "$proxy/compose.yaml" "$proxy/Caddyfile" 2>/dev/null | sha256sum | cut -c1-64)"
if docker version --format 'docker={{.Server.Version}}' 2>/dev/null; then
  docker compose version --short 2>/dev/null | sed 's/^/compose=/' || true
  docker buildx version >/dev/null 2>&1 && echo buildx=yes || true
  docker ps --all --no-trunc --filter label=stagetools.system \
    --filter label=com.docker.compose.oneoff=False --format \
    'container={{.ID}} {{.Label "stagetools.system"}} {{.Label "stagetools.release"}} {{.State}} {{.Status}}'
fi
