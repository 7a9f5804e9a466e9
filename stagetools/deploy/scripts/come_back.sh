# shellcheck shell=sh
# Undo leave.sh, where the other server does not serve; then the hold can end. And what leads on goes.
#
# come_back.sh SITE NAME PROJECT
set -eu
name=$2 project=$3
cd "$1"
if test "$(readlink current.sock)" = run/moved.sock; then
  release=$(sed -n 's/^release=//p' moved)
  ln -sfn "run/$release.sock" next.sock
  mv -T next.sock current.sock
  sync -f .
  for unit in path timer; do
    systemctl start "stagetools-replica-$name.$unit" 2>/dev/null || true
  done
fi
rm -f moved
docker rm --force "$project-moved" >/dev/null 2>&1 || true
rm -f run/moved.sock
