# shellcheck shell=sh
# Wait until no connection to a release's socket is left; print `busy N` if N stay.
# The kernel books a connection to a unix socket under the network namespace of the one who
# connects: the proxy's, which is the server's own. Its name is no proof, for any container may
# bind any name; the file of the socket is.
set -eu
socket=$1 limit=$2 system=$3 release=$4
end=$(($(date +%s) + limit))
file=$(stat -c %i "$socket" 2>/dev/null || stat -c %i "${socket%.sock}.held" 2>/dev/null || true)
process=

container() {
  id=$(docker ps --quiet --filter "label=stagetools.system=$system" \
    --filter "label=stagetools.release=$release" --filter label=com.docker.compose.oneoff=False)
  test -z "$id" || docker inspect --format '{{.State.Pid}}' "$id"
}

# So many connections, by name alone first, which costs next to nothing.
count() {
  left=$(grep -c " $socket\$" /proc/net/unix || true)
  test "$left" != 0 || return 0
  process=${process:-$(container 2>/dev/null || true)}
  # those that nobody has accepted yet are known to the listener alone
  listener=$(nsenter --target "${process:-0}" --net ss -Hxle 2>/dev/null | grep "ino:$file " || true)
  test -n "$file" && test -n "$listener" || return 0 # by name, then
  waiting=$(printf '%s\n' "$listener" | awk '{sum += $3} END {print sum}')
  left=$((waiting + $(ss -Hxe state established | grep -c "ino:$file " || true)))
}

while count && test "$left" != 0; do
  test "$(date +%s)" -lt "$end" || {
    echo "busy $left"
    exit 0
  }
  sleep 0.05
done
