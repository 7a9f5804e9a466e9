# shellcheck shell=sh
# Settings of the one engine that all sites of the server share. What came of live-restore is
# printed, and remembered behind the version $1 of these settings: $2, or `theirs`.
# Standard input is the engine's daemon.json as it shall be, or nothing where it stays as it is.
set -eu
version=$1 restore=$2 file=/etc/docker/daemon.json
exec 9>/run/lock/stagetools-engine.lock
flock 9

finish() {
  install -d -m 0755 /srv/stagetools
  echo "$version $restore" >/srv/stagetools/engine
  echo "$restore"
  exit 0
}
if ! systemctl cat docker.service >/dev/null 2>&1; then # a snap's, or no systemd at all
  restore=theirs
  finish
fi

# journald drops what a unit says above its rate, and to journald all containers are one unit: a
# site that says much would hide what the others say. 0 would mean the default, so a high number
# it is; the disk is bounded by journald's own SystemMaxUse, a tenth of it unless set.
unit=/etc/systemd/system/docker.service.d/stagetools.conf
mkdir -p "${unit%/*}"
printf '%s\n' '# Written by stagetools: no site hides what another one logs.' \
  '[Service]' 'LogRateLimitIntervalSec=1s' 'LogRateLimitBurst=100000000' >"$unit.new"
mv -T "$unit.new" "$unit"
systemctl daemon-reload

# Ends no container; journald reads the unit's limits at that, and the engine its file.
reload() { systemctl reload docker || true; }
restores() { test "$(docker info --format '{{.LiveRestoreEnabled}}')" = true; }

umask 022
mkdir -p "${file%/*}"
cat >"$file.new"
if test -s "$file.new"; then
  if ! dockerd --validate --config-file "$file.new" >/dev/null 2>&1; then # or it is too old to say
    rm -f "$file.new"
    restore=theirs
  fi
fi
if test -s "$file.new"; then
  before=$file.before-stagetools
  if test -e "$file"; then cp -p "$file" "$before"; else rm -f "$before"; fi
  mv -T "$file.new" "$file"
  reload
  for _ in $(seq 20); do ! restores || break; sleep 0.25; done
  if ! restores; then # a flag of the service says otherwise: with both it would not start again
    if test -e "$before"; then mv -T "$before" "$file"; else rm -f "$file"; fi
    reload
    restore=theirs
  fi
else
  rm -f "$file.new"
  reload
fi
finish
