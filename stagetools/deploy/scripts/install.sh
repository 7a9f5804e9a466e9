# shellcheck shell=sh
# Install Debian packages, the engine among them, and wait until it answers. Begins with apt.sh.
set -eu
apt update
apt install -y --no-install-recommends "$@"
systemctl enable --now docker 2>/dev/null || true
for _ in $(seq 60); do
  docker info >/dev/null 2>&1 && exit 0
  sleep 0.5
done
echo "The Docker engine does not start: journalctl -u docker" >&2
exit 1
