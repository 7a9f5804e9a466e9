# shellcheck shell=sh
# Add Docker's own apt repository, as docs.docker.com/engine/install/debian has it. Begins with apt.sh.
set -eu
os=$1 codename=$2
apt update
apt install -y --no-install-recommends ca-certificates curl
install -m 0755 -d /etc/apt/keyrings
curl -fsSL "https://download.docker.com/linux/$os/gpg" -o /etc/apt/keyrings/docker.asc
chmod a+r /etc/apt/keyrings/docker.asc
echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/docker.asc]" \
  "https://download.docker.com/linux/$os $codename stable" >/etc/apt/sources.list.d/docker.list
