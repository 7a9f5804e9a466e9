"""A server's files below a folder of the test's own: scripts run there as they are."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stagetools.deploy.host.host import OnLine, OnSent
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed

# Where commands go on a server; each is looked for below the machine's root instead.
PLACES = re.compile(
    r"/(?:srv/stagetools|home|run/lock|run/stagetools|etc/sysctl.d|etc/docker|etc/systemd|proc/sys/fs|proc/net)\b"
)


@dataclass
class Machine:
    """Runs a command's real text, with the places of a server below `root`."""

    root: Path
    address: str = "root@test"
    variables: dict[str, str] = field(default_factory=dict)
    patience: float = 20  # seconds for a command

    def at(self, path: object) -> Path:
        """The place of a server's absolute path."""
        return self.root / str(path).lstrip("/")

    def text(self, command: Command) -> str:
        return PLACES.sub(lambda found: f"{self.root}{found[0]}", command.text)

    def program(self, name: str, script: str) -> None:
        """Put a program before the machine's own one of that name; `$said` is its log."""
        path = self.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        said = shlex.quote(str(self.root / "said"))
        path.write_text(
            f'#!/bin/sh\nsaid={said}\necho "{name} $*" >>"$said"\n{script}\n'
        )
        path.chmod(0o755)

    @property
    def said(self) -> list[str]:
        """How the programs were called."""
        log = self.root / "said"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return {
            "PATH": path,
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
        } | self.variables

    def attempt(
        self, command: Command, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command as an SSH server does: by a shell, from its words."""
        return subprocess.run(
            ["sh", "-c", self.text(command)],
            input=stdin,
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            timeout=self.patience,
            check=False,
        )

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """As a Host does it."""
        done = self.attempt(command, stdin)
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace")
            raise CommandFailed(self.address, status=done.returncode, output=output)
        return done.stdout.decode(errors="replace")


def until(condition: Callable[[], bool], limit: float = 10) -> None:
    """Wait for what a script does beside others."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
