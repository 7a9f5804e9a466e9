"""The ways to deploy that are compared: each one as its users have it."""

import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.server.machines import Server
from tests.server.project import Project

HOST = "bench"  # its name in the ssh configuration of this run
NAME = "mysite.test"

DOCKERFILE = """FROM python:3.13-slim
WORKDIR /app
ENV STAGETOOLS_SYSTEM=mysite_prod STAGETOOLS_TLS=off ALLOWED_HOSTS=* STATIC_ROOT=/srv/static
ENV SECRET_KEY=of-a-throwaway-server-that-lives-for-one-benchmark-run
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN python manage.py collectstatic --no-input
CMD ["sh", "-c", "python manage.py migrate --no-input && \
exec gunicorn --bind 0.0.0.0:8000 --workers 2 stagetools.wsgi:application"]
"""

COMPOSE = """services:
  web:
    build: .
    restart: unless-stopped
    ports: ["{port}:8000"]
    volumes: ["data:/home/mysite_prod/data"]
volumes:
  data:
"""


class Contender:
    """A project of its own, and the one command that its user types."""

    name = "?"
    port = 443
    tls = True
    build_cache = True
    """Whether the engine's build cache is to be emptied before a first deploy."""

    def __init__(self, project: Project, server: Server, ssh_config: Path) -> None:
        self.project, self.server, self.ssh_config = project, server, ssh_config
        self.changes = 0
        self.prepare()

    def prepare(self) -> None:
        """Whatever files this way of deploying wants in the project."""

    def deploy(self) -> None:
        raise NotImplementedError

    def remove(self) -> None:
        """Leave the server as it was before the first deploy."""
        raise NotImplementedError

    def change_line(self) -> str:
        """Another last line in a template; the mark by which it is known."""
        self.changes += 1
        mark = f"<!-- change {self.changes:04} of {self.name.split()[0]} -->"
        page = "mysite/templates/base.html"
        text = self.project.read(page).partition("<!-- change")[0]
        self.project.write(page, f"{text}{mark}\n")
        return mark

    def add_dependency(self, name: str) -> None:
        path = "pyproject.toml"
        first = '    "gunicorn'
        self.project.replace(path, first, f'    "{name}",\n{first}')

    def words(self, *words: str) -> None:
        """Run a command on this machine; its output only if it fails."""
        done = subprocess.run(
            words,
            cwd=self.project.root,
            env=self.project.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class Ours(Contender):
    """`inv deploy`"""

    name = "inv deploy"

    def deploy(self) -> None:
        self.project.deploy()

    def remove(self) -> None:
        done = self.project.inv("remove", "--name", "mysite_prod")
        if done.status:
            raise RuntimeError(repr(done))


class Copied(Contender):
    """The tree copied, then `docker compose up -d --build`."""

    tls = False
    folder = "?"

    def prepare(self) -> None:
        self.project.write("Dockerfile", DOCKERFILE)
        self.project.write("compose.yaml", COMPOSE.format(port=self.port))
        self.list_requirements()

    def list_requirements(self) -> None:
        table = tomllib.loads(self.project.read("pyproject.toml"))["project"]
        self.project.write("requirements.txt", "\n".join(table["dependencies"]) + "\n")

    def add_dependency(self, name: str) -> None:
        super().add_dependency(name)
        self.list_requirements()

    def deploy(self) -> None:
        self.words(*self.copy_words())
        up = f"cd {self.folder} && docker compose up -d --build"
        self.words("ssh", "-F", str(self.ssh_config), HOST, up)

    def copy_words(self) -> Sequence[str]:
        raise NotImplementedError

    def remove(self) -> None:
        self.server.run(
            f"cd {self.folder} && docker compose down --rmi all --volumes;"
            f" find {self.folder} -mindepth 1 -delete"
        )


class Scp(Copied):
    """`scp -r`, file after file."""

    name = "scp -r, compose up --build"
    port, folder = 8001, "/srv/scp"

    def copy_words(self) -> Sequence[str]:
        to = f"{HOST}:{self.folder}/"
        return ["scp", "-q", "-r", "-F", str(self.ssh_config), ".", to]


class Rsync(Copied):
    """`rsync -az --delete`"""

    name = "rsync, compose up --build"
    port, folder = 8002, "/srv/rsync"

    def copy_words(self) -> Sequence[str]:
        shell = f"ssh -F {self.ssh_config}"
        to = f"{HOST}:{self.folder}/"
        return ["rsync", "-az", "--delete", "-e", shell, "./", to]


def available() -> list[type[Contender]]:
    """Those whose programs are here."""
    found: list[type[Contender]] = [Ours, Scp]
    if shutil.which("rsync"):
        found.append(Rsync)
    return found
