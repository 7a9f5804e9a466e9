"""What every project is built on, fetched once and kept for the servers that come after.

A server whose engine has nothing takes longer to fetch a Python, a Caddy and Debian's packages
than to do what its test is about. So one such server deploys a project, and what its engine
has then, less the project, is a file in an image: the engine of each new server begins with
it. Servers without an engine, which the tests of a first deploy are about, fetch it all.
"""

import fcntl
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.server.machines import HERE, IMAGE, STORAGE, Server, capabilities, docker

REPOSITORY = HERE.parents[1]
# The storage is made again with each of these, and each week for the sake of newer packages.
OF = (
    "tests/server/machine/Dockerfile",
    "template/Dockerfile.jinja",
    "template/pyproject.toml.jinja",
    "template/stagetools_project/requirements.txt.jinja",
    "stagetools/deploy/proxy/compose.yaml",
)
FILE = "/storage.tar"
ATTRIBUTES = "--xattrs --xattrs-include='*'"  # overlayfs says with them what is gone
EMPTY = """
docker ps --all --quiet | xargs -r docker rm --force --volumes
docker image ls --format '{{.Repository}}:{{.Tag}}' | grep _prod: | xargs -r docker image rm
docker volume ls --quiet | xargs -r docker volume rm
systemctl stop docker.socket docker containerd
cd /var/lib/docker; rm -rf containers network engine-id
"""


def image() -> str:
    """The name of the image for this state of the files, and this week."""
    texts = [(REPOSITORY / path).read_bytes() for path in OF]
    digest = hashlib.sha256(b"".join(texts)).hexdigest()[:12]
    return f"{IMAGE}:storage-{time.strftime('%G-%V')}-{digest}"


def keep(deployed: Callable[[], Server]) -> None:
    """Make the image if it is not there: `deployed` gives a server that has all of it."""
    with (Path(tempfile.gettempdir()) / f"{IMAGE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", IMAGE)
        if image() not in there.split():
            server = deployed()
            try:
                _make(server)
            finally:
                server.remove()
        for name in there.split():
            if "storage-" in name and name != image():
                docker("image", "rm", "--force", name)


def _make(server: Server) -> None:
    server.run(EMPTY)
    server.run(f"cd {STORAGE[0]}; tar --create {ATTRIBUTES} --file {FILE} .")
    docker("commit", server.container, image())


def give(container: str) -> None:
    """Put it where the engine of a server will look that is made and not started yet."""
    untar = f"tar --extract {ATTRIBUTES} --file {FILE} --directory {STORAGE[0]}"
    words = [*capabilities(), "--volumes-from", container, image()]
    docker("run", "--rm", *words, "sh", "-euc", untar)
