# shellcheck shell=sh
# Take the replica of an installation away. What lies at its place stays.
set -eu
dir=$1 meta=$2 user=$3 name=$4 container=$5
units=/etc/systemd/system unit=stagetools-replica-$name
as() { (cd / && setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"); }
for what in path timer; do
  test ! -e "$units/$unit.$what" || systemctl disable --quiet --now "$unit.$what"
done
systemctl stop "$unit.service" 2>/dev/null || true
rm -f "$units/$unit.path" "$units/$unit.timer" "$units/$unit.service"
systemctl daemon-reload
docker rm --force "$container" >/dev/null 2>&1 || true
test ! -d "$meta" || as find "$meta/" -mindepth 2 -delete || true
rm -rf -- "$meta" "$dir"
