# shellcheck shell=sh
# The server's one proxy: `ensure AUTHORITY VERSION` unpacks its files from standard input (a
# gzipped tar) and starts or renews it; `except NAME SNIPPET [ROOT CERTIFICATE]` serves an installation
# by a snippet of its own, and an empty one ends that. Exits $refused if Caddy refuses them.
set -eu
dir=$1 refused=$2 what=$3
shift 3
project=stagetools-proxy

# Each "FILE.new" becomes "FILE" if Caddy accepts the whole with them; else nothing has changed.
adopt() {
  for file; do
    cp -p "$file" "$file.before" 2>/dev/null || rm -f "$file.before"
    mv "$file.new" "$file"
  done
  if ! docker run --rm --network none --volume "$dir:/etc/caddy:ro" caddy:2 \
    caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile >"$dir/.said" 2>&1; then
    for file; do mv "$file.before" "$file" 2>/dev/null || rm -f "$file"; done
    tail -3 "$dir/.said"
    exit "$refused"
  fi
  for file; do rm -f "$file.before"; done
  rm -f "$dir/.said"
}

compose() { docker compose --project-name "$project" --progress quiet "$@"; }
containers() {
  docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project"
}

# Wait until the container's own process holds both ports, whoever else does.
wait_for() {
  for _ in $(seq 60); do
    pid=$(docker inspect --format '{{.State.Pid}}' "$1")
    held=$(ss -Hltnp 'sport = :80 or sport = :443' | grep "pid=$pid," |
      tr -s ' ' | cut -d' ' -f4 | sed 's/.*://' | sort -u | tr '\n' ' ')
    if test "$held" = "443 80 "; then return 0; fi
    sleep 0.25
  done
  docker logs --tail 5 "$1" 2>&1
  return 1
}

# Another Caddy beside the one that runs: both listen on the ports (SO_REUSEPORT). The old one
# tells its visitors to come by another connection, finishes what it has, and leaves. What may
# be lost is a request whose connection is being made at that moment (none of 8,056 in six
# renewals; one in almost each where the processor is starved). The file
# `version` is away meanwhile: whoever finds that it was interrupted does it again.
renew() {
  rm -f version
  old=$(containers)
  if test -z "$old"; then
    compose up --detach --wait 2>&1
    wait_for "$(containers)"
  else
    compose up --detach --no-recreate --scale "caddy=$(($(echo "$old" | wc -l) + 1))" 2>&1
    new=$(containers | grep -vxF "$old")
    wait_for "$new" || { docker rm --force "$new" >/dev/null && exit 1; }
    leave "$old"
  fi
  echo "$1" >version
}

# Connections that the old one has not accepted yet go to the new one. Linux, ip-sysctl
leave() {
  migrate=/proc/sys/net/ipv4/tcp_migrate_req
  before=$(cat "$migrate" 2>/dev/null || echo none)
  test "$before" = none || echo 1 >"$migrate" 2>/dev/null || true
  # shellcheck disable=SC2086 # ids
  docker stop $1 >/dev/null
  # shellcheck disable=SC2086
  docker rm $1 >/dev/null
  test "$before" = none || echo "$before" >"$migrate" 2>/dev/null || true
}

# What the proxy dials lies in directories that sites write in: sticky ones, in which the kernel
# follows no link that another user made. Not every kernel begins with that.
guard_links() {
  here=/proc/sys/fs/protected_symlinks line="fs.protected_symlinks = 1"
  file=/etc/sysctl.d/60-stagetools.conf
  if ! grep -q 1 "$here" && ! echo 1 >"$here"; then
    echo "$here is 0 and cannot be set: a site could lead the proxy into another one."
    exit 1
  fi
  for sockets in /srv/stagetools/web/sites/*/run; do # of 0.1.0, it was the site's own
    test ! -d "$sockets" || { chown root:root "$sockets" && chmod 1777 "$sockets"; }
  done
  test ! -w "${file%/*}" || grep -qxF "$line" "$file" 2>/dev/null || echo "$line" >"$file"
}

exec 9>/run/lock/stagetools-proxy.lock
flock 9
case $what in
  ensure)
    guard_links
    install -d -m 0755 /srv/stagetools /srv/stagetools/web "$dir" "$dir/sites"
    cd "$dir"
    rm -f ./*.new
    tar -x -z --no-same-owner --transform 's/$/.new/' -f -
    if test -n "$1" && ! test -f authority.caddy; then
      printf '%s\n' "$1" >authority.caddy.new
    fi
    # a Caddy before 2.11.2 loses the body of a request that had to wait for its site
    test ! -f version || timeout 60 docker pull --quiet caddy:2 >/dev/null 2>&1 || true
    # shellcheck disable=SC2046,SC2012 # names of our own
    adopt $(ls -- *.new | sed 's/[.]new$//')
    renew "$2"
    ;;
  except)
    file=sites/$1.caddy
    test -n "$2" || test -f "$dir/$file" || exit 0
    cd "$dir"
    version=$(cat version || echo 0)
    if test -z "$2"; then
      rm -f "$file"
      renew "$version"
      exit 0
    fi
    test -z "${3:-}" || printf '%s\n' "$4" >"$3"
    printf '%s' "$2" >"$file.new"
    if cmp -s "$file" "$file.new"; then
      rm "$file.new"
      exit 0
    fi
    adopt "$file"
    renew "$version"
    ;;
esac
