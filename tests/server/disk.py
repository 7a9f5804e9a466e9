"""A server's /home on a disk of its own, so that a power cut takes what nobody had synced.

To kill a container is not enough: what it has written to a file is in the memory of the machine
that it runs on, and stays. Here an ext4 lies in a file of the server. In the moment of the cut the
kernel is told to forget all of it that has not reached the disk, as ext4's own tests do
(EXT4_IOC_SHUTDOWN without a flush of the journal), and the journal is read when it boots again.
"""

from tests.server.machines import Server, docker

SIZE = "2G"
SHUTDOWN, NOW = 0x8004587D, 2  # _IOR('X', 125, __u32), NOLOGFLUSH. linux/fs/ext4/ext4.h
UNIT = """[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -euc 'mknod /dev/loop-control c 10 237; for n in $(seq 0 31); do mknod /dev/loop$n b 7 $n; done; mount -o loop /disk /home'
[Install]
WantedBy=local-fs.target
"""
MAKE = f"""
apt-get update -q && apt-get install -q -y --no-install-recommends e2fsprogs
truncate -s {SIZE} /disk && mkfs.ext4 -q -F /disk
cat >/etc/systemd/system/disk.service
systemctl enable --now disk.service
"""
FORGET = f"""
open(my $home, "<", "/home") or die $!;
my $flags = pack("L", {NOW});
open(my $clock, "<", "/proc/uptime") or die $!;
kill "STOP", -1; # nobody is to meet a disk that answers no more
my ($up) = split(" ", <$clock>);
ioctl($home, {SHUTDOWN}, $flags) or die $!;
print $up;
"""


def give_disk(server: Server) -> None:
    """Before anything lies below /home."""
    make = ["exec", "--interactive", server.container, "sh", "-euc", MAKE]
    docker(*make, stdin=UNIT)


def has_disk(server: Server) -> bool:
    return server.run("stat --file-system --format %T /home") == "ext2/ext3"


def cut_power(server: Server) -> float:
    """When it went, by the machine's clock (time.monotonic() reads the same); it is up again."""
    server.unpause()
    went = float(docker("exec", server.container, "perl", "-e", FORGET))
    docker("kill", "--signal", "KILL", server.container)
    docker("start", server.container)
    server.wait_for_ssh()
    return went
