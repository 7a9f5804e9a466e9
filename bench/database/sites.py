"""A rendered site for each contender, its gunicorn, and what CPU their processes took."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import copier
from contenders import Contender

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NAME = "mysite_prod"
_TICK = os.sysconf("SC_CLK_TCK")
_FILL = """
from bench_views import ROWS
from mysite.models import Entry
Entry.objects.bulk_create(Entry(name="n", message="m" * 99) for _ in range(ROWS))
"""


class Site:
    """One contender, running."""

    def __init__(self, contender: Contender, folder: Path, database_host: str) -> None:
        self.contender, self.root = contender, folder / "mysite"
        self.socket = folder / "web.sock"
        render(self.root, contender.settings)
        (folder / "data").mkdir()
        self.environment = os.environ | {
            "STAGETOOLS_SYSTEM": NAME,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "bench.example.com",
            "STAGETOOLS_BIND": f"unix:{self.socket}",
            "DATABASE_PATH": str(folder / "data" / "mysite.sqlite3"),
            "DATABASE_HOST": database_host,
            "STATIC_ROOT": str(folder / "static"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **contender.environment,
        }
        self.manage("migrate", "--verbosity", "0")
        self.manage("collectstatic", "--no-input", "--verbosity", "0")
        self.manage("shell", "--verbosity", "0", "--command", _FILL)
        self.log = (folder / "log").open("wb")
        self.server = self.start()

    def manage(self, *words: str) -> None:
        self.python("manage.py", *words)

    def python(self, *words: str) -> str:
        command = [sys.executable, *words]
        said = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        return said.stdout.decode()

    def start(self) -> subprocess.Popen[bytes]:
        """gunicorn as the image starts it; WEB_CONCURRENCY is a deploy's on two cores."""
        words = [
            "--config",
            "python:stagetools.gunicorn_conf",
            *self.contender.gunicorn,
        ]
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *words, "stagetools.wsgi:application"],
            **{"cwd": self.root, "env": self.environment},
            **{"stdout": self.log, "stderr": self.log},
        )
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(Path(self.log.name).read_text())
            time.sleep(0.1)
        return server

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait(60)
        self.log.close()


def render(root: Path, settings: str) -> None:
    """The project that Copier makes, with the benchmark's views and a contender's settings."""
    copier.run_copy(str(REPOSITORY), root, defaults=True, quiet=True, vcs_ref="HEAD")
    for name in ("views", "writers"):
        shutil.copy(HERE / f"{name}.py", root / f"bench_{name}.py")
    with (root / "stagetools_project" / "urls.py").open("a") as urls:
        urls.write('urlpatterns.append(path("bench/", include("bench_views")))\n')
    with (root / "stagetools_project" / "settings.py").open("a") as file:
        file.write(settings)


def cpu(*roots: int) -> float:
    """Seconds of CPU that these processes took, with all that they started."""
    table = {pid: numbers for pid in _pids() if (numbers := _stat(pid))}
    family = set(roots)
    while more := {p for p, n in table.items() if n[0] in family} - family:
        family |= more
    return sum(sum(table[pid][1:]) for pid in family if pid in table) / _TICK


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> tuple[int, ...] | None:
    """The parent, and CPU in ticks: its own, and of the children that it buried."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(words[1]), *map(int, words[11:15]))
