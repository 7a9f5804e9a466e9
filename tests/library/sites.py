"""A small project, `shop`, to live in: plain files, run in processes of their own."""

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.forked import FORKER, Forked, can_be_forked

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1] / "stagetools"
KEY = secrets.token_urlsafe(50)
PRODUCTION = {
    "STAGETOOLS_SYSTEM": "shop_prod",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "shop.example.com",
}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, as the proxy speaks it."""

    def __init__(self, path: Path) -> None:
        super().__init__("shop.example.com", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


@dataclass
class Server:
    """A running server, and what it wrote."""

    socket: Path
    log_path: Path
    process: Forked
    headers: dict[str, str] = field(
        default_factory=lambda: {"X-Forwarded-Proto": "https"}
    )

    def get(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body; `X_Y="z"` is the header `X-Y: z`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = UnixConnection(self.socket)
        connection.request(method, path, body, self.headers | sent)
        response = connection.getresponse()
        answer = {name.lower(): value for name, value in response.getheaders()}
        received = response.read()
        connection.close()
        return response.status, answer, received

    def post(
        self, path: str, body: str, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """The same, with a form or a document."""
        return self.get(path, "POST", body, **headers)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait(self) -> None:
        """Until the socket accepts, or RuntimeError with the log."""
        for _ in range(1200):  # 30 s, on a machine with other things to do
            if self.process.poll() is not None:
                break
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                if knock.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.025)
        raise RuntimeError(self.log)


@dataclass
class Site:
    """A checkout of the project, `python` and the variables of its processes."""

    root: Path
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
        }
        own = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        return kept | own | self.variables | more

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Python with these words, in the checkout."""
        environment = self.environment(**more)
        if self.python == sys.executable and can_be_forked(words, environment):
            return FORKER.run(words, self.root, environment)
        return self.run_fresh(*words, **more)

    def run_fresh(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The same in an interpreter that has imported nothing."""
        return subprocess.run(
            [self.python, *words],
            cwd=self.root,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def settings(self, *names: str, **more: str) -> dict[str, Any]:
        """Some settings, as Django has them."""
        code = (
            "import sys, json, aaa_env_setup; from django.conf import settings;"
            "print(json.dumps({n: getattr(settings, n) for n in sys.argv[1:]},default=str))"
        )
        done = self.run("-c", code, *names, **more)
        assert done.returncode == 0, done.stderr
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded

    def change(self, path: str, old: str, new: str) -> None:
        """Edit a file of the project."""
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @contextmanager
    def serving(self, *words: str, **more: str) -> Iterator[Server]:
        """Start the server that `words` name; {socket} stands for its socket."""
        with TemporaryDirectory(
            prefix="web"
        ) as short:  # 107 bytes at most, says unix(7)
            yield from self._serving(Path(short) / "web.sock", *words, **more)

    def _serving(self, socket_path: Path, *words: str, **more: str) -> Iterator[Server]:
        log_path = self.root / "server.log"
        environment = self.environment(STAGETOOLS_BIND=f"unix:{socket_path}", **more)
        program = ["-m", *(word.format(socket=socket_path) for word in words)]
        with log_path.open("wb") as log, Path(os.devnull).open("rb") as nothing:
            process = FORKER.begin(program, self.root, environment, nothing, log, log)
        server = Server(socket_path, log_path, process)
        try:
            server.wait()
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)


def make_site(root: Path) -> Site:
    shutil.copytree(HERE / "site", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "stagetools").symlink_to(LIBRARY)
    return Site(root)


def as_production(site: Site) -> Site:
    site.variables = PRODUCTION | {
        "DATABASE_PATH": str(site.root / "shop.sqlite3"),
        "STATIC_ROOT": str(site.root / "static"),
        "STAGETOOLS_STATIC_ARCHIVE": str(site.root / "archive"),
    }
    return site


GUNICORN = (
    "gunicorn",
    "--config",
    "python:stagetools.gunicorn_conf",
    "stagetools.wsgi:application",
)
