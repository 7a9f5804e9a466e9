# shellcheck shell=sh
# Lead whoever still comes to this server on to another one, once `current.sock` leads there: a
# Caddy of the installation's own, on the socket `moved` beside the releases'. Tried before it ends.
# Standard input: certificates that the other server may show, beside those that everybody knows.
#
# forward.sh DIR NAME PROJECT USER SITE IMAGE TO TLS DOMAIN
set -eu
dir=$1 name=$2 project=$3 user=$4 site=$5 image=$6 to=$7 tls=$8 domain=$9
socket=$site/run/moved.sock
install -d -m 0755 "$dir" "$dir/moved"
cat >"$dir/moved/roots.pem"
known=/etc/ssl/certs/ca-certificates.crt
if test -s "$dir/moved/roots.pem"; then known="$known /etc/caddy/roots.pem"; fi
way="	reverse_proxy http://$to:80"
test "$tls" != yes || way="	@challenge path /.well-known/acme-challenge/*
	reverse_proxy @challenge http://$to:80
	reverse_proxy https://$to:443 {
		header_up Host {http.request.hostport}
		lb_try_duration 20s
		transport http {
			tls_server_name {http.request.host}
			tls_trust_pool file $known
		}
	}"
cat >"$dir/moved/Caddyfile" <<END
# Written by stagetools: this site has moved.
{
	admin off
	persist_config off
	auto_https off
	servers {
		trusted_proxies_unix
	}
}
http:// {
	bind unix/$socket|0666
$way
}
END
docker rm --force "$project-moved" >/dev/null 2>&1 || true
docker run --detach --name "$project-moved" --label "com.docker.compose.project=$project" \
  --restart unless-stopped --network host --read-only --cap-drop ALL --cap-add NET_BIND_SERVICE \
  --security-opt no-new-privileges --pids-limit 256 --memory 256m --tmpfs /tmp --tmpfs /data:mode=1777 --tmpfs /config:mode=1777 \
  --user "$(id -u "$user"):$(id -g "$user")" --log-driver journald --log-opt "tag=$name" \
  --volume "$dir/moved:/etc/caddy:ro" --volume "$site/run:$site/run" caddy:2 >/dev/null
# A host that has no such port is refused by the other server's proxy itself, and at once.
if ! said=$(docker run --rm --interactive --network none --read-only --cap-drop ALL --log-driver none \
  --user "$(id -u "$user"):$(id -g "$user")" --volume "$site/run:$site/run" "$image" \
  python -I - "$socket" "$domain" 2>&1 <<'END'
import socket
import sys
import time

for _ in range(100):
    try:
        here = socket.socket(socket.AF_UNIX)
        here.settimeout(60)
        here.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
here.sendall(f"GET / HTTP/1.0\r\nHost: {sys.argv[2]}:x\r\n\r\n".encode())
answer = b"".join(iter(lambda: here.recv(4096), b"")).decode(errors="replace")
print(answer.partition("\r\n")[0])
sys.exit("No such site." not in answer)
END
); then
  docker logs --tail 3 "$project-moved" 2>&1
  echo "$to does not answer this server for $domain: $said"
  docker rm --force "$project-moved" >/dev/null
  exit 1
fi
