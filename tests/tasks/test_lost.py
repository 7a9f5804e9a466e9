"""`inv deploy --restore` on a server in memory: in which order, what is asked for, what is refused."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from stagetools.deploy.backups import Backup
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps import lock
from stagetools.deploy.tasks.backups import lost
from stagetools.deploy.tasks.change import Change
from stagetools.deploy.tree import read_tree
from stagetools.errors import StageError, UsageError
from tests.steps.scripted import failure
from tests.steps.world import Scene
from tests.tasks.test_restoring import KNOWN, contents

PLACE = "sftp:keeper@host:/there"
FOUND = (
    'snapshots=[{"time": "2026-01-31T02:17:03.5Z", "id": "5c1438aa00", "tags":'
    ' ["kind=nightly", "database=4096", "rows=2", "media=5"]}]\n'
)


class Ruin(Scene):
    """A new server, and the tree and the key of a site whose own one is lost."""

    def run(self, root: Any, error: str = "") -> StageError | None:
        make = partial(
            lost.Revive, key=Secret("k3y"), credentials={"AWS_X": Secret("s")}
        )
        with lock.hold(self.session, "ann") as held:
            change = make(self.session, held, self.facts, root, read_tree(root))
            if not error:
                change.run()
                return None
            with pytest.raises(StageError, match=error) as caught:
                change.run()
        return caught.value


@pytest.fixture
def root(tmp_path):
    (tmp_path / "manage.py").write_text("")
    return tmp_path


@pytest.fixture
def ruin(layout, config, ready, monkeypatch):
    def ruin(facts: Any = ready, **said: Any) -> Ruin:
        answers = {
            "backup.repository.fetch": FOUND,
            "backup.repository.revive": f"found={contents(entry=100)}\n",
            "backup.repository.uploads": "uploads=2\n",
            "database.known": json.dumps({"known": KNOWN}),
        } | said
        monkeypatch.setattr(
            Change, "new_name", lambda change, of: f"20260131-080000-{of}"
        )
        elsewhere = replace(config, backup=Backup(to=PLACE))
        return Ruin(layout, elsewhere, facts, answers=answers)

    return ruin


def test_all_that_was_backed_up_is_there_before_anything_serves(ruin, root) -> None:
    scene = ruin()
    scene.run(root)
    assert scene.steps[:5] == ["Fetch", "Upload", "Build", "Restore", "Uploads"]
    assert scene.steps[5:8] == ["Migrate", "Start", "Switch"]
    names = scene.world.names
    assert names.index("backup.repository.uploads") < names.index(
        "compose.start_beside"
    )
    said = scene.output.getvalue()
    assert "5c1438aa of 2026-01-31 02:17:03 UTC" in said
    assert "what was written after that is lost" in said
    assert scene.world.sent["backup.repository.fetch"] == b"k3y\nAWS_X=s\n"
    assert scene.written.why == "restore"
    assert "backup.setup.install" in names[names.index("traffic.switch") :]


def test_a_site_that_serves_is_left_alone(ruin, root, deployed) -> None:
    scene = ruin(deployed)
    error = scene.run(root, "serves on root@203.0.113.7 already")
    assert error.untouched == "Nothing was changed."
    assert "that it lacks: inv deploy." in error.remedy
    assert "an empty site: inv remove, then inv deploy --restore." in error.remedy
    assert scene.world.names == []


@pytest.mark.parametrize(
    ("migrations", "said"),
    [
        ([*KNOWN, "shop.0003"], "has migrations that the release does not know: shop.0003"),
        (["auth.0001", "blog.0001"], "it has blog, and lacks shop"),
        ([], "it has no migrations of Django's"),
    ],
)  # fmt: skip
def test_another_tree_than_the_database_knows_serves_nobody(
    ruin, root, migrations: list[str], said: str
) -> None:
    scene = ruin(**{"backup.repository.revive": f"found={contents(migrations)}\n"})
    error = scene.run(root, said)
    assert "Check out the commit" in error.remedy
    assert scene.world.visitors == ""
    assert "compose.start_beside" not in scene.world.names


@pytest.mark.parametrize("fails", ["fetch", "revive", "uploads"])
def test_a_failure_says_why_and_can_be_typed_again(ruin, root, fails: str) -> None:
    scene = ruin(**{f"backup.repository.{fails}": failure("noise\nThe reason.\n")})
    scene.run(root, "." if fails == "uploads" else "The reason.")
    assert scene.world.visitors == ""
    assert "traffic.switch" not in scene.world.names


def test_the_reason_is_the_server_s_last_line(ruin, root) -> None:
    said = failure("noise\nThe key does not open the backups in there.\n")
    error = ruin(**{"backup.repository.fetch": said}).run(root, "The key does not open")
    assert error.what == "Fetch: The key does not open the backups in there."
    assert "inv deploy --restore again" in error.remedy


# --- the key, and what the place asks for -----------------------------------------------------


class Asked(Terminal):
    """Somebody who answers."""

    def ask_secret(self, name: str) -> str:
        self.asked = [*getattr(self, "asked", []), name]
        return f"typed {name}"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch) -> None:
    for name in (lost.KEY, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_what_the_environment_does_not_have_is_asked_for(monkeypatch) -> None:
    terminal = Asked()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    key, credentials = lost.given("s3:https://host/bucket", terminal)
    assert terminal.asked == [lost.KEY, "AWS_SECRET_ACCESS_KEY"]
    assert key.reveal() == f"typed {lost.KEY}"
    assert credentials["AWS_ACCESS_KEY_ID"].reveal() == "id"
    monkeypatch.setenv(lost.KEY, "k3y\n")
    key, credentials = lost.given(PLACE, Asked())
    assert (key.reveal(), credentials) == ("k3y", {})  # nothing of S3's goes to SSH


def test_without_a_place_elsewhere_nothing_is_asked(layout, config, tmp_path) -> None:
    to = type(
        "To", (), {"config": config, "terminal": Asked(), "system": layout.system}
    )
    with pytest.raises(UsageError, match="names no place elsewhere") as caught:
        lost.deploy(tmp_path, to)  # type: ignore[arg-type]
    assert "inv restore FILE" in caught.value.remedy
