"""What images, clients and servers of different versions tell each other, on either side."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from stagetools.database import protocol
from stagetools.database.protocol import (
    Copied,
    Failed,
    Finding,
    Known,
    Migrated,
    Migration,
    Plan,
    Reader,
    Ready,
    Rehearsed,
    Reversed,
    Snapshot,
    Unknown,
    line,
)
from stagetools.deploy.facts import Record
from stagetools.errors import StageError

DROPS = Finding("shop.0002_price", "drops item.cost")
VALUES = [
    Plan(pending=("a.1", "a.2"), breaking=(DROPS,), unforeseeable=(DROPS,), sqlite=False),
    Known(known=("a.1", "a.2")),
    Unknown(unknown=("a.2",), breaking=(DROPS,), irreversible=(DROPS,)),
    Copied(copied=0.25),
    Migration(migration="a.1", seconds=1.5),
    Failed(failed="a.1", atomic=False),
    Rehearsed(rehearsed=2),
    Snapshot(snapshot="/b/it's one.sqlite3", seconds=0.5),
    Migrated(migrated=1),
    Reversed(reversed=1.25),
    Ready(ready=True, migrations=("a.1",)),
]  # fmt: skip


def read(*lines: str) -> Reader:
    reader = Reader()
    for text in lines:
        reader.take(text)
    return reader


def other(value: protocol.Value, **more: object) -> str:
    """The value's line, with other keys, or without those that are None."""
    said = json.loads(line(value)) | more
    return json.dumps({k: v for k, v in said.items() if v is not None})


def test_each_value_comes_back_as_it_was_said() -> None:
    assert {type(value) for value in VALUES} == set(protocol._KINDS.values())
    reader = read(*map(line, VALUES))
    assert reader.values == VALUES
    assert reader.result(Known) == VALUES[1]


def test_the_last_value_of_its_kind_is_the_result() -> None:
    first, second = Known(known=("a",)), Known(known=("b",))
    assert read(line(first), line(second)).result(Known) == second
    assert read(line(first)).result(Plan) is None


def test_a_person_reads_it_in_words() -> None:
    reader = Reader()
    said = reader.take(line(Migration(migration="a.1", seconds=1.5)))
    assert said == "migration a.1, seconds 1.5"
    assert reader.take("Traceback …") == "Traceback …"


# --- a newer side, and an older one ----------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_a_newer_version_adds_to_a_line_is_passed_over(value) -> None:
    more = other(value, weight=7, since={"a": [1]})
    assert read(more).result(type(value)) == value


def test_a_kind_that_came_later_is_no_value_and_no_error() -> None:
    later = json.dumps({"stagetools": 1, "kind": "Vacuumed", "vacuumed": 3})
    reader = Reader()
    assert reader.take(later) == "vacuumed 3"
    reader.take(line(VALUES[1]))
    assert reader.result(Known) == VALUES[1]
    assert reader.values == [VALUES[1]]


def test_what_an_older_version_did_not_say_has_its_default() -> None:
    said = other(VALUES[0], unforeseeable=None, sqlite=None)
    assert read(said).result(Plan) == Plan(pending=("a.1", "a.2"), breaking=(DROPS,))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (other(VALUES[1], stagetools=2), "made by a newer version of the template"),
        (other(VALUES[1], known=None), "said what this version cannot read: {"),
        (other(VALUES[1], known="all of them"), "cannot read"),
        (other(VALUES[1], known=[7]), "cannot read"),
        (other(VALUES[1], stagetools="one"), "cannot read"),
        (other(VALUES[2], breaking=[["a.1"]]), "cannot read"),
        (other(VALUES[3], copied="soon"), "cannot read"),
    ],
)
def test_what_cannot_be_understood_is_an_error_in_words(said: str, words: str) -> None:
    reader = read(said)
    with pytest.raises(StageError, match=words) as caught:
        reader.result(Known)
    assert "Update the template first" in caught.value.remedy


@pytest.mark.parametrize(
    "foreign",
    [
        *('{"known": []}', '{"migration": "x.1", "seconds": 1}', '{"copied": "no"}'),
        *('{"level": "info"}', '{"stagetools": "is fine"}', "{", "[1]", "null", ""),
    ],
)
def test_a_line_of_the_projects_own_is_never_a_value(foreign: str) -> None:
    """Many projects log in JSON; it may even look like 0.1.0's, before ours or after."""
    reader = Reader()
    reader.take(foreign)
    reader.take(line(VALUES[3]))
    assert reader.take(foreign) == foreign
    assert reader.values == [VALUES[3]]
    reader.check()


# --- 0.1.0, whose lines say nothing of themselves -------------------------------------------

OF_0_1_0 = {
    '{"pending": ["a.1"], "breaking": [["a.1", "drops x"]], "size": 7, "sqlite": true}': (
        Plan(pending=("a.1",), breaking=(Finding("a.1", "drops x"),))
    ),
    '{"known": ["a.1"]}': Known(known=("a.1",)),
    '{"copied": 0.001}': Copied(copied=0.001),
    '{"migration": "a.1", "seconds": 0.5}': Migration(migration="a.1", seconds=0.5),
    '{"rehearsed": 0.5}': Rehearsed(rehearsed=0.5),
    '{"snapshot": "/b/x.sqlite3", "seconds": 0.1}': Snapshot(
        snapshot="/b/x.sqlite3", seconds=0.1
    ),
    '{"migrated": 0.5}': Migrated(migrated=0.5),
    '{"unknown": ["a.1"], "breaking": [], "irreversible": [["a.1", "RunPython"]]}': (
        Unknown(unknown=("a.1",), irreversible=(Finding("a.1", "RunPython"),))
    ),
    '{"reversed": 1}': Reversed(reversed=1),
}


def test_the_lines_of_0_1_0_are_read() -> None:
    assert read(*OF_0_1_0).values == list(OF_0_1_0.values())


@pytest.mark.parametrize("said", OF_0_1_0)
def test_by_all_of_their_keys_and_by_no_others(said: str) -> None:
    more = json.dumps(json.loads(said) | {"level": "info"})
    assert read(more).values == []


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as it was in 0.1.0, from this repository's history."""
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root)]
    words = ["log", "--format=%H", "--grep=^Release 0.1.0$"]
    found = subprocess.run([*git, *words], capture_output=True, text=True, check=False)
    asked = [*git, "rev-parse", "--is-shallow-repository"]
    is_whole = subprocess.run(asked, capture_output=True, text=True, check=False)
    if not found.stdout.strip() and is_whole.stdout.strip() != "false":
        pytest.skip("0.1.0 is not in this copy's history: git fetch --unshallow")
    assert found.stdout.strip(), "no commit releases 0.1.0"
    words = ["archive", "--format=tar", found.stdout.split()[-1], "stagetools"]
    done = subprocess.run([*git, *words], capture_output=True, check=True)
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="tar")
    return folder


def run(folder: Path, code: str, stdin: str = "") -> list[str]:
    """Run it with the library that is there; what it printed, a line each."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, input=stdin,
        env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


ITS_IMAGE = """
import io, sys, types
import django
from django.conf import settings
sys.modules["aaa_script_setup"] = types.ModuleType("aaa_script_setup")
sys.modules["aaa_env_setup"] = types.ModuleType("aaa_env_setup")
sys.modules["aaa_env_setup"].SYSTEM = types.SimpleNamespace(base_dir=".")
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
)
django.setup()
import os
os.makedirs("backups", exist_ok=True)
from stagetools.database import __main__ as image
image._start_site = lambda: None
for words in (["plan"], ["rehearse"], ["migrate"], ["known"], ["snapshot", "one"]):
    image.main(words)
for word in ("unknown", "rehearse-reverse", "reverse"):
    sys.stdin = io.StringIO('["contenttypes.0001_initial"]')
    image.main([word])
"""


def test_all_that_its_images_print_is_read(first_release: Path) -> None:
    """As its own code prints it, with the migrations of one of Django's apps."""
    printed = run(first_release, ITS_IMAGE)
    values = read(*printed).values
    assert len(values) == len(printed)
    assert {type(value) for value in values} == set(protocol._OF_0_1_0.values())
    (plan,) = (value for value in values if isinstance(value, Plan))
    assert plan.pending[0] == "contenttypes.0001_initial"


ITS_CLIENT = """
import sys
from stagetools.deploy.steps import database

class Host:
    address = "root@test"
    def run(self, command, *, stdin=b"", on_line=None):
        return LINES[command.text.split()[-1 if "before" not in command.text else -2]]

LINES = dict(zip(("known", "unknown", "rehearse-reverse", "reverse", "snapshot"), sys.stdin))
database.database.run = lambda layout, release, *words: type("C", (), {"text": " ".join(words)})
host = Host()
print(database.known(host, None, "R2"))
print(database.plan_undo(host, None, "R2", ["a.1"]))
print(database.rehearse_undo(host, None, "R2", ["a.1"]).text)
print(database.snapshot(host, None, "R2", "before"))
print(database.undo(host, None, "R2", ["a.1"]).text)
"""


def test_its_client_reads_all_that_it_asks_of_a_newer_image(
    first_release: Path,
) -> None:
    """A rollback, by somebody of the team who has not updated yet."""
    says = [
        Known(known=("a.1",)),
        Unknown(unknown=("a.2",), breaking=(Finding("a.2", "drops x"),)),
        Reversed(reversed=1.5),
        Reversed(reversed=2),
        Snapshot(snapshot="/b/before.sqlite3"),
    ]
    printed = run(first_release, ITS_CLIENT, "".join(f"{line(v)}\n" for v in says))
    assert printed == [
        "['a.1']",
        "Undo(unknown=('a.2',), first=True, irreversible=())",
        "undone on a copy in 1.50 s",
        "/b/before.sqlite3",
        "undone in 2.00 s",
    ]


def test_its_client_reads_the_records_that_this_version_writes(
    first_release: Path,
) -> None:
    """One key more, and `inv releases` and `inv rollback` of 0.1.0 see no release in it."""
    record = Record(
        release="R2", fingerprint="f", who="ann", commit="c", at="2026-01-31T08:00:00+00:00",
        tree="t", origin="R1", why="rollback", migrations=("a.1",),
    )  # fmt: skip
    code = (
        "import sys; from stagetools.deploy.facts import Record;"
        "r = Record.parse(sys.stdin.read());"
        "print(r.release, r.made_of, r.tree, r.why, *r.migrations)"
    )
    printed = run(first_release, code, record.to_json())
    assert printed == ["R2 R1 t rollback a.1"]
