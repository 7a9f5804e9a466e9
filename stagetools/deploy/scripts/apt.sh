# shellcheck shell=sh
# A new server installs its own packages in its first minutes (cloud-init, apt-daily), and apt
# waits for dpkg's lock alone: not for that of its lists. So we wait, and say so.
set -eu
limit=600 # seconds
locks="/var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/cache/apt/archives/lock"
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l

# The process that holds one of the locks, as the kernel lists them: these are no flock(2)'s.
holder() {
  for lock in $locks; do
    inode=$(stat -c %i "$lock" 2>/dev/null) || continue
    awk -v at=":$inode\$" '$2 == "POSIX" && $4 == "WRITE" && $6 ~ at {print $5}' /proc/locks
  done | head -n 1
}

wait_for_others() {
  end=$(($(date +%s) + limit)) told=
  while other=$(holder) && test -n "$other"; do
    if test "$(date +%s)" -ge "$end"; then
      echo "Another program still installs packages here after $limit s: $told" >&2
      return 1
    fi
    if test -z "$told"; then
      told=$(tr '\0' ' ' <"/proc/$other/cmdline" 2>/dev/null || true)
      echo "Waiting for another program that installs packages here: ${told:-process $other}"
    fi
    sleep 1
  done
}

# Again where another program came between the look and apt's own.
apt() {
  for try in 1 2 3 4 5; do
    wait_for_others || return
    if apt-get -o "DPkg::Lock::Timeout=$limit" -o Dpkg::Use-Pty=0 -q "$@"; then return; else status=$?; fi
    test "$try" != 5 && test -n "$(holder)" || return "$status"
  done
}
