"""Programs of Python, each in a process of its own that need not import Django again.

One process has imported it and forks for each program, which gets the words, variables, folder
and files of a fresh interpreter: a fifth of a second of processor for each of some 300. What is
asked of the interpreter itself goes to a fresh one, and so does what is asked about imports.
Nothing of a project or of the library is here: each program imports them from its own folder.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import IO

IMPORTED = [
    "django.contrib.staticfiles.management.commands.collectstatic",
    "django.core.handlers.asgi",
    "django.core.mail.backends.smtp",
    "django.core.management.commands.migrate",
    "django.core.management.commands.check",
    "django.core.servers.basehttp",
    "django.core.wsgi",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.autodetector",
    "django.forms",
    "django.template.loader_tags",
    "django.test",
    "django.views.debug",
    "django.views.i18n",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "hashlib",
    "ssl",
    "whitenoise.storage",
]
SOCKET = "forks"
LONGEST = 60.0  # seconds that a program may take


class Forked:
    """A program that was begun; as a Popen, as far as it is used."""

    def __init__(self, place: Path, request: Mapping[str, object], *files: IO[bytes]):
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.connect(str(place))
        text = json.dumps(request).encode()
        handles = [file.fileno() for file in files]
        socket.send_fds(self.connection, [len(text).to_bytes(4, "big")], handles)
        self.connection.sendall(text)
        self.pid = int.from_bytes(self.connection.recv(4, socket.MSG_WAITALL), "big")
        self.returncode: int | None = None

    def wait(self, timeout: float = LONGEST) -> int:
        if self.returncode is None:
            self.connection.settimeout(timeout)
            status = self.connection.recv(4, socket.MSG_WAITALL)
            self.connection.close()
            self.returncode = int.from_bytes(status, "big", signed=True)
        return self.returncode

    def poll(self) -> int | None:
        with suppress(TimeoutError, BlockingIOError):
            return self.wait(0)
        return None

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class Forker:
    """The process that forks; it begins with the first program."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="fork")
        self.process: subprocess.Popen[bytes] | None = None

    def begin(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], *files: IO[bytes]
    ) -> Forked:
        """Start a program; `files` are its input, its output and its errors."""
        place = Path(self.folder) / SOCKET
        if self.process is None:
            own = {k: env[k] for k in ("PATH", "HOME") if k in env}
            self.process = subprocess.Popen(
                [sys.executable, __file__, place], env=own, stdin=subprocess.PIPE
            )
            atexit.register(self.end)
            while not place.exists() and self.process.poll() is None:
                time.sleep(0.01)
        request = {"words": words, "cwd": str(cwd), "env": dict(env)}
        return Forked(place, request, *files)

    def run(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run() with the output captured as text."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
            with Path(os.devnull).open("rb") as nothing:
                status = self.begin(words, cwd, env, nothing, said, errors).wait()
            texts = []
            for file in (said, errors):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess([*words], status, *texts)

    def end(self) -> None:
        if self.process:
            self.process.communicate()
        shutil.rmtree(self.folder)


FORKER = Forker()


def can_be_forked(words: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether nothing of it is for the interpreter itself."""
    asks = {name for name in env if name.startswith("PYTHON")}
    first = words[0]
    return (not first.startswith("-") or first in ("-c", "-m")) and asks <= PATHS


PATHS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}


# --- in the process that forks --------------------------------------------------------


def serve(place: str) -> list[str]:
    """Fork for each request; returns a program's words in that program's process alone."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(f"{place}.new")
        listening.listen()
        Path(f"{place}.new").rename(place)
        while listening in select.select([listening, 0], [], [])[0]:
            connection, _ = listening.accept()
            if not os.fork():
                return attend(connection)
            connection.close()
            reap(os.WNOHANG)
    reap(0)  # who began this one has ended
    sys.exit()


def reap(how: int) -> None:
    """Take note of who has ended, so that their time is counted as this one's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, how)[0]:
            pass


def attend(connection: socket.socket) -> list[str]:
    """Fork the program, tell which process it is, and in the end how it ended."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += connection.recv(2**16)
    if pid := os.fork():
        for file in files:
            os.close(file)
        connection.sendall(pid.to_bytes(4, "big"))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(OSError):
            connection.sendall(status.to_bytes(4, "big", signed=True))
        os._exit(0)
    connection.close()
    return become(json.loads(text), files)


def become(request: dict[str, object], files: list[int]) -> list[str]:
    """Be the process that was asked for, up to what it runs."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    there = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    sys.path[:1] = ["", *there]
    importlib.invalidate_caches()
    return list(request["words"])  # type: ignore[call-overload]


def run(words: list[str]) -> None:
    """What Python does with these words; its end is the interpreter's."""
    match words:
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            run_as_main(code, "<string>")
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], os.getcwd()  # noqa: PTH109
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *_]:
            path = Path(script).absolute()
            sys.argv, sys.path[0] = words, str(path.parent.resolve())
            run_as_main(path.read_text(), str(path), __file__=str(path))


def run_as_main(code: str, name: str, **known: str) -> None:
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main).update(known)
    exec(compile(code, name, "exec", dont_inherit=True), vars(main))  # noqa: S102


if __name__ == "__main__":
    sys.path[0] = ""
    run(serve(sys.argv[1]))
