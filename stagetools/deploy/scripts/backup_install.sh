# shellcheck shell=sh
# Leave an installation's backups as this version has them. Begins with apt.sh.
# Says `key` where the key is new: the owner has never seen it. In place of a lost server there is
# one already, which opens what lies elsewhere: `fetch` brings it, and makes the repository.
set -eu
dir=$1 vault=$2 user=$3 name=$4 digest=$5 calendar=$6 drills=$7 backup=$8 sqlite=$9 lost=${10}
units=/etc/systemd/system
as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }

for expression in "$calendar" "$drills"; do
  test -z "$expression" || systemd-analyze calendar "$expression" >/dev/null || exit 65
done
if ! command -v restic >/dev/null; then
  apt update
  apt install -y --no-install-recommends restic
fi

install -d -m 0755 "$dir"
install -d -m 0700 "$vault"
install -d -o "$user" -g "$user" -m 0700 "$vault/inside"
put() { # what comes, whole or not at all
  cat >"$1.new"
  mv -T "$1.new" "$1"
}
umask 077
printf '%s' "$backup" | put "$dir/backup.sh"
printf '%s' "$sqlite" | put "$dir/sqlite.py"

# No new key for an old repository: it would open nothing.
if test -z "$lost" && ! test -s "$vault/key" && ! test -e "$vault/inside/repository/config"; then
  head -c 33 /dev/urandom | base64 -w0 | tr '+/' '-_' | put "$vault/key"
  sync "$vault/key"
  echo key
fi
if test -z "$lost" && ! test -e "$vault/inside/repository/config"; then
  (
    cd "$vault/inside"
    RESTIC_PASSWORD=$(cat "$vault/key") HOME=$vault/inside
    export RESTIC_PASSWORD HOME
    as rm -rf repository # without its config it is half of one
    as restic --no-cache --quiet --repo repository init
  )
fi

if ! test -e "$vault/inside/ssh_key" && command -v ssh-keygen >/dev/null; then
  (cd "$vault/inside" && as ssh-keygen -q -t ed25519 -N '' -C "backups of $name" -f ssh_key)
fi

timer() { # WHAT WORDS CALENDAR
  unit=$units/stagetools-$1-$name
  if test -z "$3"; then
    ! test -e "$unit.timer" || systemctl disable --now "${unit##*/}.timer"
    rm -f "$unit.timer" "$unit.service"
    return
  fi
  umask 022
  put "$unit.service" <<END
# Written by stagetools.
[Unit]
Description=stagetools: $1 of $name
After=docker.service
[Service]
Type=oneshot
Environment=STAGETOOLS_TIMER=yes
ExecStart=/bin/sh $dir/backup.sh $2
TimeoutStartSec=6h
MemoryMax=50%
TasksMax=512
CPUWeight=20
IOWeight=20
END
  put "$unit.timer" <<END
# Written by stagetools: every and keep in deploy.toml.
[Timer]
OnCalendar=$3
Persistent=true
[Install]
WantedBy=timers.target
END
}
timer backup "make nightly" "$calendar"
timer drill drill "$drills"
systemctl daemon-reload
for what in backup drill; do
  unit=stagetools-$what-$name.timer
  ! test -e "$units/$unit" || { systemctl enable --quiet "$unit" && systemctl restart "$unit"; }
done
umask 077
test -e "$vault/since" || : >"$vault/since"
printf '%s\n' "$digest" | put "$vault/installed"
