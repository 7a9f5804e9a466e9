"""A rendered project and the person who types in it."""

import os
import pty
import subprocess
import sys
import threading
import tomllib
from contextlib import suppress
from pathlib import Path

from tests.server.machines import Server

REPOSITORY = Path(__file__).parents[2]


class Done:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text

    def __repr__(self) -> str:
        return f"exit {self.status}\n{self.text}"


class Project:
    """A project rendered from the working tree, with a home of its own for ~/.ssh."""

    def __init__(self, root: Path, home: Path, key: Path) -> None:
        self.root, self.home, self.key = root, home, key
        (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        config = f"Host *\n  IdentityFile {key}\n"
        (home / ".ssh" / "config").write_text(config)

    def target(
        self, server: Server, *, domain: str, stage: str = "prod", **keys: object
    ) -> None:
        """Write the stage's table into deploy.toml, and no other."""
        values: dict[str, object] = {
            "host": server.address,
            "user": "root",
            "tls": "internal",
        }
        values |= {"domains": [domain]} | keys
        self.write("deploy.toml", f"[stages.{stage}]\n" + "".join(
            f"{key} = {toml(value)}\n" for key, value in values.items()))  # fmt: skip
        self.trust(server)

    def add_stage(self, stage: str, **values: object) -> None:
        """Another table in deploy.toml."""
        lines = "".join(f"{key} = {toml(value)}\n" for key, value in values.items())
        self.write(
            "deploy.toml", self.read("deploy.toml") + f"\n[stages.{stage}]\n{lines}"
        )

    def trust(self, server: Server) -> None:
        """As a person who compared the fingerprint once."""
        line = server.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
        kind, key = line.split()[:2]
        with (self.home / ".ssh" / "known_hosts").open("a") as file:
            file.write(f"{server.address} {kind} {key}\n")

    def inv(self, *words: str, timeout: float = 300, stdin: str = "") -> Done:
        """Type `inv …` in the project, with no terminal; all that it said, should it hang."""
        try:
            done = self._run(words, timeout, stdin)
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode(errors="replace")
            hung = f"inv {' '.join(words)} hung for {timeout} s:\n{said}"
            raise AssertionError(hung) from None
        return Done(done.returncode, done.stdout)

    def _run(
        self, words: tuple[str, ...], timeout: float, stdin: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "inv", *words],
            cwd=self.root,
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def answer(self, answer: str, *words: str) -> Done:
        """Type `inv …` at a terminal, and an answer to the first question."""
        here, there = pty.openpty()
        os.write(here, f"{answer}\n".encode())
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", Path(sys.executable).parent / "inv", *words],
            cwd=self.root, env=self.environment, stdin=there, stdout=there, stderr=there,
        )  # fmt: skip
        os.close(there)
        said = b""
        patience = threading.Timer(300, process.kill)
        patience.start()
        with suppress(OSError):  # EIO: whoever had the terminal is gone
            while some := os.read(here, 4096):
                said += some
        patience.cancel()
        os.close(here)
        return Done(process.wait(timeout=30), said.decode())

    def deploy(self, *words: str) -> Done:
        """Deploy, and be surprised if that fails."""
        done = self.inv("deploy", *words)
        assert done.status == 0, str(done)
        return done

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("STAGETOOLS_", "DJANGO_", "SSH_", "PYTHONDONT"))
        }
        return kept | {"HOME": str(self.home), "COLUMNS": "120"}

    @property
    def slug(self) -> str:
        return str(tomllib.loads(self.read("pyproject.toml"))["project"]["name"])

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        text = self.read(path)
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))


def toml(value: object) -> str:
    """A string, a number or a list of strings, as TOML writes them."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'
