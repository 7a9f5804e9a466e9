"""Throwaway servers: containers with a systemd, an sshd, an engine's storage of their own."""

import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
IMAGE = "stagetools-test-server"
STORAGE = ("/var/lib/docker", "/var/lib/containerd")  # of a server's own engine
MEMORY, ENOUGH = Path("/dev/shm"), 8 * 2**30
NETWORK, SUBNET = "stagetools-test", "172.31.250"
# A server's own engine makes its networks here, and not where the mirror is.
BRIDGE, POOLS = "192.168.231.1/24", [{"base": "192.168.232.0/21", "size": 27}]
# Linux's capabilities in the order of their numbers. capability.h
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
]


def docker(*words: str, stdin: str = "") -> str:
    """Run docker on this machine; its standard output."""
    done = subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def engine_answers() -> bool:
    """Whether tests that need servers can run here."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except (RuntimeError, FileNotFoundError):
        return False
    return True


def build_images() -> None:
    """The servers' images; seconds when they are there already."""
    for target in ("bare", "docker"):
        docker(
            "build",
            "-q",
            "--target",
            target,
            "-t",
            f"{IMAGE}:{target}",
            str(HERE / "machine"),
        )


def make_key(folder: Path) -> Path:
    """A key pair for this run alone."""
    key = folder / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True
    )
    return key


@dataclass(frozen=True)
class Server:
    """One throwaway server."""

    container: str
    address: str
    fingerprint: str

    @classmethod
    def create(
        cls,
        name: str,
        key: Path,
        *,
        with_docker: bool = False,
        options: Sequence[str] = (),
        before: Callable[[str], None] = lambda container: None,
    ) -> "Server":
        """Boot a fresh server that `key` opens; `before` is for its container."""
        container = f"stagetools-test-{name}-{os.getpid()}"
        image = f"{IMAGE}:{'docker' if with_docker else 'bare'}"
        words = ["--name", container, "--hostname", name, *_powers()]
        words += [*in_memory(container, *STORAGE), *options]
        _create_with_address(*words, image)
        _use_mirror(container)
        before(container)
        docker("start", container)
        public = key.with_suffix(".pub").read_text()
        keep = "cat >/root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys"
        docker("exec", container, "ssh-keygen", "-A")
        docker("exec", "--interactive", container, "sh", "-c", keep, stdin=public)
        path = "/etc/ssh/ssh_host_ed25519_key.pub"
        print_ = docker("exec", container, "ssh-keygen", "-lf", path).split()[1]
        server = cls(container, _address(container), print_)
        server.wait_for_ssh()
        return server

    def run(self, command: str, *, user: str = "root") -> str:
        """Run a shell command on the server, not over SSH."""
        return docker("exec", "--user", user, self.container, "sh", "-euc", command)

    def wait_for_ssh(self) -> None:
        for _ in range(120):
            try:
                self.run("test -S /run/systemd/private && ss -ltn | grep -q ':22 '")
            except RuntimeError:
                time.sleep(0.25)
            else:
                return
        raise RuntimeError(f"{self.container} does not start sshd")

    def cut_power(self) -> None:
        """Kill everything at once, as a power cut does, and boot again."""
        self.unpause()
        docker("kill", "--signal", "KILL", self.container)
        docker("start", self.container)
        self.wait_for_ssh()

    def unpause(self) -> None:
        """With cgroups of version 1, nobody can kill what is paused."""
        with suppress(RuntimeError):  # it may not run, or have no engine
            self.run("docker ps -q --filter status=paused | xargs -r docker unpause")

    def remove(self) -> None:
        self.unpause()
        docker("rm", "--force", "--volumes", self.container)
        forget()


def ensure_network() -> None:
    """A network of the tests' own, where a server keeps its address when it boots again."""
    if NETWORK not in docker("network", "ls", "--format", "{{.Name}}").split():
        docker("network", "create", "--subnet", f"{SUBNET}.0/24", NETWORK)


def _create_with_address(*words: str) -> None:
    """`docker create` with an address that no other server has, or will have again."""
    ensure_network()
    taken = _addresses()
    # the engine gives the lowest ones itself, to whatever asks for none
    free = {f"{SUBNET}.{last}" for last in range(100, 255)} - taken
    if not free:
        raise RuntimeError(f"{NETWORK} has no free address")
    address = random.choice(sorted(free))  # noqa: S311 - no secret
    docker("create", "--network", NETWORK, "--ip", address, *words)


def _addresses() -> set[str]:
    """The addresses of all containers there, of those too whose power is cut just now."""
    names = docker("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").split()
    form = "{{range .NetworkSettings.Networks}}{{with .IPAMConfig}}{{.IPv4Address}}{{end}} {{.IPAddress}} {{end}}"
    inspect = ["docker", "inspect", "--format", form, *names]
    if not names:
        return set()
    # without check: one that was there may have been removed meanwhile
    said = subprocess.run(inspect, capture_output=True, text=True, check=False)
    return set(said.stdout.split())


def _address(container: str) -> str:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", form, container)


def capabilities() -> list[str]:
    """All that this machine itself may give."""
    status = Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0]
    bound = int(status, 16)
    have = [name for bit, name in enumerate(CAPABILITIES) if bound >> bit & 1]
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in have)]


def _powers() -> list[str]:
    """What systemd and an inner engine need, and this machine itself may give."""
    words = capabilities()
    words += [
        f"--security-opt={what}=unconfined"
        for what in ("seccomp", "apparmor", "systempaths")
    ]
    words += [
        "--device-cgroup-rule=a *:* rwm",
        "--cgroupns=host",
        "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    ]
    return [*words, "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"]


def in_memory(container: str, *folders: str) -> list[str]:
    """Folders of a container in this machine's memory, if there is enough of it.

    A disk takes ten times as long to make and forget the files of a few images.
    """
    if min(_available(), shutil.disk_usage(MEMORY).free) < ENOUGH:
        return [f"--mount=type=volume,dst={folder}" for folder in folders]
    return [f"--volume={MEMORY}/{container}{folder}:{folder}" for folder in folders]


def _available() -> int:
    """Bytes of this machine's memory that nobody needs."""
    found = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else 0


def forget() -> None:
    """Free the memory of containers that are gone, however they went."""
    made = [folder.name for folder in MEMORY.glob("stagetools-test-*")]
    there = docker("ps", "--all", "--format", "{{.Names}}").split()
    if gone := [name for name in made if name not in there]:
        words = ["run", "--rm", f"--volume={MEMORY}:{MEMORY}", "--workdir", str(MEMORY)]
        docker(*words, f"{IMAGE}:bare", "rm", "-rf", *gone)


def _use_mirror(container: str) -> None:
    """Where no registry can be reached, LAB_REGISTRY_MIRROR names one that can.

    Said before the server boots, for an engine reads its settings once.
    """
    mirror = os.environ.get("LAB_REGISTRY_MIRROR", "")
    if mirror:
        plain = mirror.removeprefix("http://")
        text = {
            "registry-mirrors": [mirror],
            "insecure-registries": [plain],
            "bip": BRIDGE,
            "default-address-pools": POOLS,
        }
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "daemon.json"
            file.write_text(json.dumps(text))
            docker("cp", str(file), f"{container}:/etc/docker/daemon.json")
