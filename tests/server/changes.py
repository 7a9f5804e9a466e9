"""What puts another release before the users, over and over, the way back included; and the
judgement of a load that went on meanwhile.
"""

import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server.load import Load
from tests.server.machines import Server
from tests.server.project import Done, Project

VIEWS = '''"""What the load asks for: an answer that takes long, an upload, a row."""

import hashlib
import time

from django.conf import settings
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("done")


@csrf_exempt
def upload(request):
    digest = hashlib.sha256()
    while piece := request.read(65536):
        digest.update(piece)
    return HttpResponse(digest.hexdigest())


@csrf_exempt
def write(request):
    from .models import Entry

    Entry.objects.create(name=request.GET["key"], message="load")
    return HttpResponse(status=201)


def named(get_response):
    """Say in each answer which release gave it."""

    def answer(request):
        response = get_response(request)
        response.headers["X-Release"] = settings.RELEASE
        return response

    return answer
'''
URLS = """from . import load

urlpatterns += [
    path("load/slow", load.slow),
    path("load/upload", load.upload),
    path("load/write", load.write),
]
"""
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("{app}", "{before}")]
    operations = [
        {operations},
    ]
"""
FIELD = '{name} = models.CharField(max_length=9, default="", null=True)'
SLACK = 3.0
"""Seconds between the moment that a snapshot shows and the last byte of its file."""
EACH = 4  # failures of a kind that are told one by one
UNITS = {"s": 1, "min": 60, "h": 3600}

_marks = itertools.count(1)


def take_load(project: Project) -> None:
    """Give the project what `Load` asks for."""
    app, settings = project.slug, "stagetools_project/settings.py"
    project.write(f"{app}/load.py", VIEWS)
    project.write(f"{app}/urls.py", project.read(f"{app}/urls.py") + URLS)
    line = f'\nMIDDLEWARE = ["{app}.load.named", *MIDDLEWARE]  # noqa: F405\n'
    project.write(settings, project.read(settings) + line)


@dataclass(frozen=True)
class Restored:
    """One rollback that put a snapshot in the database's place; times are monotonic."""

    release: str  # that serves since
    asked: float  # when it was said how much would be lost
    said: float  # seconds, rounded down to `unit`
    unit: float
    snapshot: float  # when it was made

    def may_lose(self, by: str, acknowledged: float) -> bool:
        """Whether a row may be gone that the release `by` acknowledged then."""
        return (
            by < self.release
            and acknowledged >= self.snapshot - SLACK
            and acknowledged >= self.asked - self.said - self.unit - SLACK
        )


class Changes:
    """Each kind of switch in its turn: `for change in itertools.islice(changes, 12)`."""

    def __init__(self, project: Project, server: Server) -> None:
        self.project, self.server, self.app = project, server, project.slug
        self.restored: list[Restored] = []
        self.spans: list[tuple[str, float, float]] = []
        self.refused = 0
        """Changes that went back, for visitors would have waited too long; then made again."""
        # 2 s unless set: then it asks, and nobody here has agreed to anything
        if "migration_limit" not in (config := project.read("deploy.toml")):
            project.write("deploy.toml", f"{config}migration_limit = 600\n")

    def __iter__(self) -> Iterator[Callable[[], Done]]:
        return itertools.cycle(
            [
                *(self.deploy, self.restart, self.deploy, self.rollback),
                *(self.environment, self.expand, self.undo_later, self.deploy),
                *(self.contract, self.undo_first, self.contract, self.restore),
            ]
        )

    def run(self, count: int, *, may_refuse: bool = False) -> None:
        """The next so many, each of which must succeed; or refuse, before anybody notices."""
        for change in itertools.islice(self, count):
            done = self.timed(change)
            while too_slow(done) and not may_refuse and self.refused < count // 4 + 1:
                self.refused += 1
                done = self.timed(change)
            self.refused += may_refuse and too_slow(done)
            assert done.status == 0 or (may_refuse and too_slow(done)), (
                change.__name__,
                done,
            )

    def timed(self, change: Callable[[], Done]) -> Done:
        started = time.monotonic()
        try:
            return change()
        finally:
            self.spans.append((change.__name__, started, time.monotonic()))

    def deploy(self) -> Done:
        """A changed page and a changed stylesheet, and so another hashed name."""
        mark = f"{next(_marks)}"
        for path, text in (
            ("templates/home.html", "<!-- change {} -->\n"),
            ("static/site/style.css", "/* change {} */\n"),
        ):
            path = f"{self.app}/{path}"
            before = self.project.read(path).partition(text.partition("{")[0])[0]
            self.project.write(path, before + text.format(mark))
        return self.project.inv("deploy")

    def restart(self) -> Done:
        return self.project.inv("restart")

    def rollback(self) -> Done:
        return self.project.inv("rollback", "--yes")

    def environment(self) -> Done:
        return self.project.inv("env.set", f"CHANGE={next(_marks)}")

    # --- the way back --------------------------------------------------------------------

    def expand(self) -> Done:
        """Two columns that the release before can live with."""
        number = self.number + 1
        fields = [FIELD.format(name=f"{n}_{number}") for n in ("mood", "spare")]
        added = [
            f'migrations.AddField("entry", "{name}", {field})'
            for name, field in (line.split(" = ", 1) for line in fields)
        ]
        self._migrate(f"{2 * number:04}_expand", added)
        lines = "".join(f"    {field}\n" for field in fields)
        self.project.replace(
            f"{self.app}/models.py", "    created =", f"{lines}    created ="
        )
        return self.deploy()

    def undo_later(self) -> Done:
        """Back over `expand`: the older release serves before the columns go."""
        return self.undo()

    def undo(self) -> Done:
        """Yes to what is lost; and no, should it ask whether visitors may meet errors."""
        return self.project.answer("y\nn", "rollback")

    def contract(self) -> Done:
        """One column is renamed and one goes: the release before cannot live with that."""
        name = f"{2 * self.number + 1:04}_contract"
        if not (self.migrations / f"{name}.py").exists():
            mood, spare = f"mood_{self.number}", f"spare_{self.number}"
            feeling = f"feeling_{self.number}"
            renamed = f'migrations.RenameField("entry", "{mood}", "{feeling}")'
            removed = f'migrations.RemoveField("entry", "{spare}")'
            self._migrate(name, [renamed, removed])
            models = f"{self.app}/models.py"
            self.project.replace(models, f"    {mood} =", f"    {feeling} =")
            line = f"    {FIELD.format(name=spare)}\n"
            self.project.replace(models, line, "")
        return self.deploy()

    def undo_first(self) -> Done:
        """Back over `contract`: the older release cannot serve before it is undone."""
        return self.undo()

    def restore(self) -> Done:
        """Back over `contract` by the snapshot from before it; what it says is noted."""
        words = ["rollback", "--restore-database"]
        question = self.project.inv(*words)
        asked = time.monotonic()
        if question.status != 1:  # nothing to restore, which it says
            return question
        done = self.project.inv(*words, "--yes")
        if done.status == 0:
            self.restored.append(self._restored(question.text, asked))
        return done

    def _restored(self, said: str, asked: float) -> Restored:
        said = " ".join(said.split())
        lost = re.search(r"last (\d+) (s|min|h) will be lost", said)
        snapshot = re.search(r"before-\d{8}-\d{6}-\w+", said)
        assert lost, str(said)
        assert snapshot, str(said)
        home = f"/home/{self.app}_prod"
        made = self.server.run(f"stat -c %.Y {home}/backups/{snapshot[0]}.sqlite3")
        offset = time.time() - time.monotonic()
        unit = UNITS[lost[2]]
        release = serving(self.server, f"{self.app}_prod")
        return Restored(release, asked, int(lost[1]) * unit, unit, float(made) - offset)

    @property
    def migrations(self) -> Path:
        return self.project.root / self.app / "migrations"

    @property
    def number(self) -> int:
        """How often the project has expanded."""
        return len(list(self.migrations.glob("*_expand.py")))

    def _migrate(self, name: str, operations: list[str]) -> None:
        before = max(path.stem for path in self.migrations.glob("0*.py"))
        text = MIGRATION.format(
            app=self.app, before=before, operations=",\n        ".join(operations)
        )
        self.project.write(f"{self.app}/migrations/{name}.py", text)


TOO_SLOW = (
    *("Visitors have waited for", "visitors had waited too long"),
    # what it asks where the rehearsal took too long, and what then is not there to restore
    *("Until the switch, some", "Visitors will wait for", "has migrated the database"),
)


def too_slow(done: Done) -> bool:
    """Whether a change went back, or was not begun, for the sake of visitors.

    `inv deploy --yes` would go on: visitors of a release that does not know the database
    then meet errors until the switch.
    """
    said = " ".join(done.text.split())
    return done.status in (1, 2) and any(words in said for words in TOO_SLOW)


def serving(server: Server, name: str) -> str:
    """The release that the proxy sends visitors to."""
    link = server.run(f"readlink /srv/stagetools/web/sites/{name}/current.sock")
    return link.rpartition("/")[2].removesuffix(".sock")


def stored(server: Server, name: str = "mysite_prod") -> set[str]:
    """The keys of all rows, as the release that serves sees them."""
    app, release = name.rpartition("_")[0], serving(server, name)
    query = f"from {app}.models import Entry; print(*Entry.objects.values_list('name', flat=True))"
    container = server.run(
        f"docker ps --quiet --filter label=stagetools.system={name}"
        f" --filter label=stagetools.release={release}"
        " --filter label=com.docker.compose.oneoff=False"
    )
    script = (
        f'docker exec {container} python -m stagetools.manage shell -v 0 -c "{query}"'
    )
    return set(server.run(script).split())


def assert_nothing_failed(
    load: Load, server: Server, changes: Changes | None = None
) -> None:
    """No request failed, and no row is gone but those that a restore said would be."""
    report = load.report
    silent = ("written", "acknowledged", "releases", "seen", "began", "failures")
    silent += ("answered",)
    figures = {k: v for k, v in report.items() if k not in silent}
    figures["switches"] = len(report["releases"]) - 1
    figures["refused"] = changes.refused if changes else 0
    sys.stdout.write(json.dumps(figures, indent=1))
    spans = changes.spans if changes else []
    name = f"{changes.app}_prod" if changes else "mysite_prod"
    if report["failed"]:
        said = server.run(
            f"journalctl -q -o cat CONTAINER_TAG={name} | grep -a '\"ERROR\"' | tail -n 3 | cut -c 1-3000"
        )
        pytest.fail("\n".join([*told(report, spans), "the site's last errors:", said]))
    assert_rows_are_there(report, stored(server, name), changes)


def assert_rows_are_there(
    report: dict, rows: set[str], changes: Changes | None
) -> None:
    restored = changes.restored if changes else []
    gone = [row for row in report["acknowledged"] if row[0] not in rows]
    lost = [
        (key, by, acknowledged)
        for key, by, acknowledged in gone
        if not any(one.may_lose(by, acknowledged) for one in restored)
    ]
    sys.stdout.write(f"\nrestores: {len(restored)}, rows that they took: {len(gone)}\n")
    assert not lost, (len(lost), lost[:20], restored)


def told(report: dict, spans: list[tuple[str, float, float]]) -> Iterator[str]:
    """Each failure: its kind, when it was as seen from the next switch, and the error."""
    yield f"{report['failed']} of {report['requests']} failed: {report['errors']}"
    switches = report["seen"][1:]
    counts: Counter[tuple[str, str]] = Counter()
    for kind, at, took, error in report["failures"]:
        counts[kind, error] += 1
        if counts[kind, error] > EACH:
            continue
        when = report["began"] + at
        near = min(
            switches, key=lambda s: abs(s[1] - when), default=("no switch", when)
        )
        during = [
            f"{name} ({when - start:.2f} s after its start)"
            for name, start, end in spans
            if start <= when + took and when <= end
        ]
        yield (
            f"{kind}: began {when - near[1]:+.2f} s from the switch to {near[0]},"
            f" took {took:.2f} s, {' and '.join(during) or 'between changes'}: {error}"
        )
