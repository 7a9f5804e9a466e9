# shellcheck shell=sh
# On a server that a site has left: end what could still write to its database, or send that elsewhere.
# Its files stay, for `inv remove`.
#
# gone.sh NAME PROJECT HOLD OWN META USER REPLICA AWAY
set -eu
name=$1 project=$2 hold=$3 own=$4 meta=$5 user=$6 replica=$7 away=$8
docker ps --all --quiet --filter "label=com.docker.compose.project=$project" \
  --filter label=com.docker.compose.service=web | xargs -r docker rm --force >/dev/null
(flock 7; rm -f "$hold") 7>>"$hold.lock"
for what in backup drill; do
  unit=stagetools-$what-$name
  test -e "/etc/systemd/system/$unit.timer" || continue
  systemctl disable --quiet --now "$unit.timer"
  systemctl stop "$unit.service"
done
docker rm --force "$name-drill" "$name-backup" >/dev/null 2>&1 || true # begun by hand
test ! -d "$own" || sh -euc "$away" away "$own" "$meta" "$user" "$name" "$replica"
