"""One project's way through docs/adopt.md: each step that fails says why, and ends the way."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from candidate import FILE, Candidate, Edits, edits_of
from desk import Desk, StumbleError, last
from visitors import Visitors

from tests.server import warm
from tests.server.machines import Server, docker

LATER = "# a later version of the template\n"


@dataclass
class Outcome:
    """What became of one project."""

    commit: str = ""
    edits: Edits | None = None
    stumbles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    ended: str = ""  # the step that failed, and why


class Route:
    """A copy of the project, its environment, a throwaway server."""

    def __init__(self, one: Candidate, folder: Path, template: Path, key: Path) -> None:
        self.one, self.template, self.key = one, template, key
        self.desk, self.outcome = Desk(one, folder, key), Outcome()
        self.root = self.desk.root
        self.beside = folder / f"{one.slug}-template"
        self.server: Server | None = None
        self.visitors: Visitors
        self.replaced: list[str] = []
        self.first = self.merged = ""

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        found = [
            ("copy", self.copy),
            ("merge", self.merge),
            ("install", self.install),
            ("check", self.check),
            ("deploy", self.deploy),
            ("pages", self.pages),
            ("login", lambda: self.visitors.login()) if self.one.login else None,
            ("upload", lambda: self.visitors.upload()) if self.one.upload else None,
            ("second deploy", self.deploy_again),
            ("rollback", self.roll_back),
            ("update", self.update),
        ]
        return [step for step in found if step]

    def run(self) -> Outcome:
        """All steps, until one fails."""
        try:
            for name, step in self.steps():
                self._take(name, step)
                if self.outcome.ended:
                    break
        finally:
            if self.server:
                self.server.remove()
        if hasattr(self, "visitors"):
            self.outcome.stumbles += self.visitors.told
        return self.outcome

    def _take(self, name: str, step: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            step()
        except Exception as error:  # whatever it is, it ends this project alone
            self.outcome.ended = f"{name}: {error}"
        else:
            self.outcome.passed.append(name)
        took, ended = time.monotonic() - started, self.outcome.ended
        said = f"ended by it:\n{ended}" if ended else "passed"
        print(f"{self.one.name}: {name} {said} ({took:.0f} s)", flush=True)

    # --- the document's steps --------------------------------------------------------------

    def copy(self) -> None:
        """A fresh copy, and the template rendered beside it."""
        words = ("clone", "--quiet", str(self.one.source))
        self.desk.git(*words, str(self.root), cwd=self.desk.folder)
        self.outcome.commit = self.desk.git("log", "-1", "--format=%h of %cs").strip()
        if self.one.folder:
            self.desk.git("filter-branch", "--subdirectory-filter", self.one.folder)
        self.first = self.desk.git("rev-parse", "HEAD").strip()
        answers = {
            "settings_module": self.one.settings_module,
            "project_slug": self.one.slug,
            "python": self.one.python,
        }
        data = [f"--data={name}={value}" for name, value in answers.items()]
        copy = [sys.executable, "-m", "copier", "copy", "--defaults", "--quiet"]
        places = [str(self.template), str(self.beside)]
        self.desk.type(*copy, "--vcs-ref=HEAD", *data, *places)

    def merge(self) -> None:
        """The commands that Copier prints; ours are taken where both have a file."""
        commit = ("commit", "--quiet", "--message", "Render the template")
        for words in (("init", "--quiet"), ("add", "--all"), commit):
            self.desk.git(*words, cwd=self.beside)
        self.desk.git("fetch", str(self.beside), "HEAD")
        merge = ("git", "merge", "--allow-unrelated-histories", "--message")
        done = self.desk.run(*merge, "Adopt the template", "FETCH_HEAD")
        named = self.desk.git("diff", "--name-only", "--diff-filter=U").split()
        if done.status and not named:
            raise StumbleError(f"git merge\n{last(done.text)}")
        for name in named:
            self._take_ours(name)
        if named:
            self.desk.git("commit", "--no-edit")
        self.merged = self.desk.git("rev-parse", "HEAD").strip()
        self._count_edits()

    def _take_ours(self, name: str) -> None:
        before = self.desk.git("show", f"HEAD:{name}")
        (self.root / f"{name}.before").write_text(before)
        self.desk.git("checkout", "--theirs", name)
        self.desk.git("add", name, f"{name}.before")
        self.replaced.append(name)

    def _count_edits(self) -> None:
        edits = edits_of(self.root, self.first, self.merged, self.replaced)
        self.outcome.edits = edits

    def install(self) -> None:
        """Its own requirements as it says, then ours."""
        venv = self.desk.venv
        python = "python3" if self.one.within else sys.executable
        self.desk.install(f"test -d {venv} || {python} -m venv {venv}")
        ours = (
            "pip install --quiet --requirement stagetools_project/requirements-dev.txt"
        )
        for line in (*self.one.install, ours):
            self.desk.install(line)

    def check(self) -> None:
        """Once as it came, once with the edits; the second has to be content."""
        found = self.desk.in_environment("inv check --no-tests").text.splitlines()
        said = [line[2:] for line in found if line.startswith("✗ ")]
        self.outcome.stumbles += [f"check: {line}" for line in said]
        self.outcome.notes += [line for line in found if line.startswith(("! ", "· "))]
        for line in self.one.edits:
            self.desk.type("sh", "-euc", line)
        if self.one.edits:
            self.desk.commit("Do as inv check says")
            self._count_edits()
            self.install()
        self.desk.install("inv check" if self.one.tests else "inv check --no-tests")

    def deploy(self) -> None:
        self.server = boot(self.one.slug, self.key)
        self.visitors = Visitors(self.desk, self.server)
        self.desk.project.target(self.server, domain=self.one.domain)
        self.desk.commit("Name the server")
        for name, value in self.one.variables.items():
            self.desk.inv("env.set", f"{name}={value}")
        self.desk.inv("deploy", "--yes")
        for command in self.one.commands:
            self.desk.inv("manage", command)

    def pages(self) -> None:
        self.outcome.notes.append(self.visitors.pages())

    # --- what comes later ------------------------------------------------------------------

    def deploy_again(self) -> None:
        (self.root / f"{FILE}.txt").write_text("A change.\n")
        self.desk.commit("Change something")
        self.desk.inv("deploy", "--yes")
        self.visitors.look()

    def roll_back(self) -> None:
        self.desk.inv("rollback", "--yes")
        self.visitors.look()

    def update(self) -> None:
        """A later version of the template, merged by Copier and deployed."""
        changed = Path("stagetools_project", "__init__.py")
        file = self.template / "template" / changed
        file.write_text(file.read_text() + LATER)
        words = ("commit", "--quiet", "--all", "--message", "A later version")
        self.desk.git(*words, cwd=self.template)
        update = ("copier", "update", "--defaults", "--quiet", "--vcs-ref=HEAD")
        self.desk.type(sys.executable, "-m", *update)
        if unmerged := self.desk.git("ls-files", "--unmerged"):
            raise StumbleError(f"copier update leaves conflicts:\n{last(unmerged)}")
        if LATER not in (self.root / changed).read_text():
            raise StumbleError("copier update brings nothing")
        self.desk.commit("Update the template")
        self.desk.inv("deploy", "--yes")
        self.visitors.look()


def boot(name: str, key: Path) -> Server:
    """A server with an engine; with what each project needs on it where the tests kept that."""
    kept = docker("image", "ls", "--quiet", warm.image())
    more = {"before": warm.give} if kept else {}
    return Server.create(name, key, with_docker=True, **more)
