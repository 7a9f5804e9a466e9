"""An app that a test's project gets: its pages fail where the database is not the code's."""

import json
from dataclasses import dataclass, field

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project

VIEWS = """
import json
import os

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpResponse
from faults.models import Note

VERSION = "{version}"


def version(request):
    list(Note.objects.all()[:1])  # each column that the code knows
    return HttpResponse(VERSION)


def write(request):
    Note.objects.create(text=request.GET["key"])
    return HttpResponse(VERSION, status=201)


write.csrf_exempt = True


def keys(request):
    return HttpResponse("\\n".join(Note.objects.values_list("text", flat=True)))


def state(request):
    applied = MigrationRecorder(connection).applied_migrations()
    known = MigrationLoader(None).disk_migrations
    return HttpResponse(json.dumps({{
        "version": VERSION,
        "release": os.environ["STAGETOOLS_RELEASE"],
        "applied": sorted(name for app, name in applied if app == "faults"),
        "known": sorted(name for app, name in known if app == "faults"),
        "value": os.environ.get("FAULT_VALUE", ""),
    }}))
"""
URLS = """

from faults import views

urlpatterns += [path("version", views.version), path("write", views.write)]
urlpatterns += [path("keys", views.keys), path("state", views.state)]
"""
INITIAL = """
    initial = True
    operations = [migrations.CreateModel("Note", [
        ("id", models.BigAutoField(primary_key=True)),
        ("text", models.CharField(max_length=100)),
        ("word0", models.CharField(max_length=20, default="")),
    ])]
"""
ADDS = """
    dependencies = [("faults", "{before}")]
    operations = [migrations.AddField("note", "{name}", models.CharField(max_length=20, null=True))]
"""
RENAMES = """
    dependencies = [("faults", "{before}")]
    operations = [migrations.RenameField("note", "{old}", "{new}")]
"""


@dataclass(frozen=True)
class State:
    """What serves, and on which schema."""

    version: str
    release: str
    applied: list[str]
    known: list[str]
    value: str

    @property
    def fits(self) -> bool:
        return self.applied == self.known


@dataclass
class Notes:
    """The app in one project, which grows by a migration at a time."""

    project: Project
    word: str = "word0"
    added: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    count: int = 0

    def begin(self) -> None:
        """Put the app into the project; nothing is deployed by that."""
        for path, text in (
            ("stagetools_project/settings.py", '\nINSTALLED_APPS += ["faults"]\n'),
            ("stagetools_project/urls.py", URLS),
        ):
            self.project.write(path, self.project.read(path) + text)
        self.project.write("faults/__init__.py", "")
        self.project.write("faults/migrations/__init__.py", "")
        self._migration("initial", INITIAL)
        self.next_version()

    def next_version(self) -> str:
        """Another version of the page; what it is called."""
        self.count += 1
        version = f"v{self.count}"
        self.project.write("faults/views.py", VIEWS.format(version=version))
        return version

    def add_a_field(self) -> str:
        """What a release that does not know it can live with."""
        name = f"added{len(self.migrations)}"
        self.added.append(name)
        self._migration(name, ADDS.format(before=self.migrations[-1], name=name))
        return self.next_version()

    def rename_a_field(self) -> str:
        """What no other release can live with."""
        old, self.word = self.word, f"word{len(self.migrations)}"
        text = RENAMES.format(before=self.migrations[-1], old=old, new=self.word)
        self._migration(self.word, text)
        return self.next_version()

    def _migration(self, name: str, body: str) -> None:
        self.migrations.append(f"{len(self.migrations) + 1:04}_{name}")
        self.project.write(
            f"faults/migrations/{self.migrations[-1]}.py",
            f"from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):{body}",
        )
        fields = [f'{self.word} = models.CharField(max_length=20, default="")']
        fields += [
            f"{n} = models.CharField(max_length=20, null=True)" for n in self.added
        ]
        self.project.write(
            "faults/models.py",
            "from django.db import models\n\n\nclass Note(models.Model):\n"
            "    text = models.CharField(max_length=100)\n"
            + "".join(f"    {line}\n" for line in fields),
        )


def state(server: Server, domain: str) -> State:
    """As the page tells it, in one request."""
    answer = Browser(server.address, domain).get("/state")
    if answer.status != 200:
        raise OSError(f"the page answers {answer.status}")
    return State(**json.loads(answer.text))


def kept(server: Server, domain: str) -> set[str]:
    """Every write that is there."""
    return set(Browser(server.address, domain).get("/keys").text.splitlines())
