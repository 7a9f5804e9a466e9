"""A command that is typed, and watched while it runs."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.server.project import Done, Project

HERE = Path(__file__).parent


class Typed:
    """`inv …` while it runs, line by line; `then` is done at once where a line matches `at`."""

    def __init__(
        self,
        project: Project,
        *words: str,
        at: str = "",
        then: Callable[["Typed"], None] = lambda typed: None,
        fault: tuple[str, str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.at, self.then, self.reached = at, then, False
        command, extra = [Path(sys.executable).parent / "inv"], {}
        if fault:  # see inject.py
            kind, step, go = fault
            command = [sys.executable, HERE / "inject.py", kind, step]
            extra = {"FAULT_GO": str(go)}
        extra |= environment or {}
        self.process = subprocess.Popen(
            [*command, *words],
            cwd=project.root,
            env=project.environment | {"PYTHONUNBUFFERED": "1"} | extra,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())
                if self.at and not self.reached and re.search(self.at, line):
                    self.reached = True
                    self.then(self)

    def send(self, number: signal.Signals) -> None:
        """To the command and all that it started."""
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(self.process.pid, number)

    def wait_for(self, pattern: str, limit: float = 120) -> None:
        """Until a line matches, or the command has ended."""
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            if any(re.search(pattern, line) for line in list(self.lines)):
                return
            time.sleep(0.01)

    def done(self, limit: float = 120) -> Done:
        status = self.process.wait(limit)
        self._reader.join()
        return Done(status, "\n".join(self.lines))
