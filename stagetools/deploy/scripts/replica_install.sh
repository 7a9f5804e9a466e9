# shellcheck shell=sh
# Leave an installation's replica as this version has it: its files, a key for sftp, the units that
# let it follow the database, and its container. Nothing runs unless the place can be reached.
set -eu
dir=$1 user=$2 name=$3 url=$4 digest=$5 directory=$6 host=$7 port=$8 unreached=$9 site=${10}
shift 10
umask 022
units=/etc/systemd/system unit=stagetools-replica-$name
as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }
put() { # what comes, whole or not at all
  cat >"$1.new"
  mv -T "$1.new" "$1"
}

# The engine mounts it, and root makes it: nobody else may have a say in what its path is.
own_place() {
  at=$directory
  while test "$at" != /; do
    at=${at%/*} at=${at:-/}
    if ! test -d "$at" || test -L "$at" || test "$(find "$at" -maxdepth 0 -uid 0 ! -perm /022)" != "$at"; then
      echo "$at is no directory that root alone may change." >&2
      exit "$unreached"
    fi
  done
  test ! -L "$directory" || { echo "$directory is a link." >&2 && exit "$unreached"; }
  if test -d "$directory" && test "$(stat -c %U "$directory")" != "$user" && test -n "$(ls -A "$directory")"; then
    echo "$directory has files of somebody else: name an empty or a new directory." >&2
    exit "$unreached"
  fi
  install -d -o "$user" -g "$user" -m 0700 "$directory"
}

install -d -m 0700 "$dir" # no path leads the account to its key: the engine mounts that
install -d -m 0755 "$dir/files"
test -z "$directory" || own_place
test "$(cat "$dir/url" 2>/dev/null || true)" = "$url" || rm -f "$dir/host_key" "$dir/ready" "$dir/installed"
printf '%s' "$url" | put "$dir/url"
(umask 077 && printf '%s' "$1" | put "$dir/replica.sh")
printf '%s' "$2" | put "$dir/replica.yaml"
printf '%s' "$3" | put "$dir/replica_place.yaml"
printf '%s' "$4" | put "$dir/files/litestream.yaml"
if ! test -s "$dir/files/ssh_key"; then
  rm -f "$dir/ssh_key" "$dir/ssh_key.pub"
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$dir/ssh_key"
  chown "$user:$user" "$dir/ssh_key"
  mv -T "$dir/ssh_key.pub" "$dir/files/ssh_key.pub"
  mv -T "$dir/ssh_key" "$dir/files/ssh_key"
fi

docker image inspect litestream/litestream:0.5 >/dev/null 2>&1 || docker pull --quiet litestream/litestream:0.5
reach() {
  said=$(timeout 120 sh "$dir/replica.sh" reach 2>&1)
}
# The first time that a server is met its key is believed, and from then on no other one. It is that
# which Litestream will ask for: its kinds stand here in the order in which Go tries them. One
# connection alone tells whether the server knows us, too: many that fail take us for an attacker.
meet() {
  # as the account, with what root alone may enter below its feet: what a hostile server can do to
  # an ssh that talks to it, it does to the account, and what that has met is read as the account
  met=$dir/files/met
  rm -rf -- "$met"
  install -d -o "$user" -g "$user" -m 0700 "$met"
  ecdsa="ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"
  for kinds in "$ecdsa,rsa-sha2-512,rsa-sha2-256,ssh-ed25519" ssh-ed25519; do
    rm -f "$dir/host_key"
    # bounded, for a server may talk without end
    said=$(cd "$dir/files" && as rm -f met/known && {
      as timeout 60 ssh -F none -i ssh_key -p "$port" -o BatchMode=yes \
        -o IdentitiesOnly=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=accept-new \
        -o UserKnownHostsFile=met/known -o GlobalKnownHostsFile=/dev/null -o HashKnownHosts=no \
        -o HostKeyAlgorithms="$kinds" -s -- "$host" sftp </dev/null 2>&1 >/dev/null && echo answers=yes
    } | head -c 65536)
    case $said in *answers=yes) answers=yes ;; *) answers=no ;; esac
    (cd "$dir/files" && as head -c 10000 met/known 2>/dev/null) |
      awk 'NR == 1 {print $2, $3}' | put "$dir/host_key"
    test -s "$dir/host_key" || return 1
    test "$answers" = yes || return 1
    if reach; then return; fi
    case $said in *"host key mismatch"*) ;; *) return 1 ;; esac
  done
  return 1
}
if test -n "$host" && ! test -s "$dir/host_key"; then
  meet
else
  reach
fi || {
  # one that had reached this very place goes on as it was, and sends what there is once it can
  test -e "$dir/ready" || sh "$dir/replica.sh" end
  test -z "$host" || echo "key=$(cat "$dir/files/ssh_key.pub")"
  printf '%s\n' "$said" | tail -n 3 >&2
  exit "$unreached"
}

put "$units/$unit.service" <<END
# Written by stagetools.
[Unit]
Description=stagetools: the replica of $name follows its database
After=docker.service
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/sh $dir/replica.sh tend
TimeoutStartSec=10min
MemoryMax=50%
TasksMax=512
END
put "$units/$unit.path" <<END
# Written by stagetools: another release serves.
[Path]
PathChanged=$site
[Install]
WantedBy=multi-user.target
END
put "$units/$unit.timer" <<END
# Written by stagetools.
[Timer]
OnBootSec=15s
OnUnitInactiveSec=10min
[Install]
WantedBy=timers.target
END
systemctl daemon-reload
systemctl enable --quiet "$unit.path" "$unit.timer"
systemctl restart "$unit.path" "$unit.timer"
rm -f "$dir/follows" # it is made anew
: >"$dir/ready"
sh "$dir/replica.sh" follow
printf '%s\n' "$digest" | put "$dir/installed"
