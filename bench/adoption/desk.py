"""Where somebody who adopts a project types: its copy, its environment, and their home."""

import os
import shlex
import subprocess
from pathlib import Path

from candidate import Candidate

from tests.server.project import Done, Project

PATIENCE = 540  # seconds for one command
AROUND = {
    "GIT_AUTHOR_NAME": "Bench",
    "GIT_AUTHOR_EMAIL": "bench@example.com",
    "GIT_COMMITTER_NAME": "Bench",
    "GIT_COMMITTER_EMAIL": "bench@example.com",
    "FILTER_BRANCH_SQUELCH_WARNING": "1",
}


class StumbleError(Exception):
    """What a person who follows the document would have met."""


class Desk:
    """Runs commands, and keeps all that they say in `log`."""

    def __init__(self, one: Candidate, folder: Path, key: Path) -> None:
        self.one, self.folder = one, folder
        self.root, self.venv = folder / one.slug, folder / "environment"
        self.log = folder / "log"
        self.project = Project(self.root, folder / "home", key)

    def type(self, *words: str, cwd: Path | None = None) -> str:
        """Run a command; what it said. StumbleError where it fails."""
        return self._passed(shlex.join(words), self.run(*words, cwd=cwd))

    def run(self, *words: str, cwd: Path | None = None) -> Done:
        environment = self.project.environment | AROUND
        programs = f"{self.venv / 'bin'}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            words,
            cwd=cwd or self.root,
            env=environment | {"PATH": programs},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return self._kept(shlex.join(words), Done(done.returncode, done.stdout))

    def git(self, *words: str, cwd: Path | None = None) -> str:
        return self.type("git", *words, cwd=cwd)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def in_environment(self, line: str) -> Done:
        """A line as the developer types it, with the project's own Python."""
        if not self.one.within:
            return self.run("sh", "-euc", line)
        path = f"export PATH={self.venv}/bin:$PATH\n{line}"
        words = ["docker", "run", "--rm", f"--volume={self.folder}:{self.folder}"]
        words += [f"--env=XDG_CACHE_HOME={self.folder}/cache"]
        words += [f"--workdir={self.root}", self.one.within, "sh", "-euc", path]
        return self.run(*words)

    def install(self, line: str) -> None:
        self._passed(line, self.in_environment(line))

    def inv(self, *words: str) -> str:
        """A task that reaches the server."""
        line = f"inv {shlex.join(words)}"
        done = self.project.inv(*words, timeout=PATIENCE)
        return self._passed(line, self._kept(line, done))

    def _kept(self, line: str, done: Done) -> Done:
        with self.log.open("a") as log:
            log.write(f"$ {line}\n{done.text}\n")
        return done

    def _passed(self, line: str, done: Done) -> str:
        if done.status:
            raise StumbleError(f"{line}\n{last(done.text)}")
        return done.text


def last(text: str, lines: int = 25) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])
