#!/bin/sh
# End the holder of an installation's lock, and the commands that it waits for.
#
# unlock.sh BASE
set -eu
base=$1

commands() { # those that have .work open, but for the holder
  for fd in /proc/[0-9]*/fd/8; do
    test "$(readlink "$fd" 2>/dev/null)" = "$base.work" || continue
    pid=${fd#/proc/}; pid=${pid%%/*}
    test "$pid" = "$(cat "$base.lock.pid" 2>/dev/null)" || echo "$pid"
  done
}

end_commands() { # by the shell's own kill: a minimal Debian has no such program
  for pid in $(commands); do kill "$@" "$pid" 2>/dev/null || true; done
}

if flock --nonblock "$base.lock" true 2>/dev/null; then
  left=$(commands)
  test -z "$left" || { end_commands; echo "Nobody held the lock; a command that still ran was ended."; exit 0; }
  echo "Nobody held the lock."; exit 0
fi
holder=$(cat "$base.lock.pid")
kill "$holder" 2>/dev/null || true
flock --wait 2 "$base.lock" true || end_commands
flock --wait 20 "$base.lock" true || end_commands -KILL
flock --wait 20 "$base.lock" true || { kill -KILL "$holder" 2>/dev/null || true; flock --wait 5 "$base.lock" true; }
echo "The lock was held by: $(tr '\n' ' ' <"$base.lock.who")"
