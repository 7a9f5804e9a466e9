"""`inv deploy --restore` while the old server lives: at no time do two serve, whatever fails."""

import json
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.facts import Record
from stagetools.deploy.replicas import Replica
from stagetools.deploy.steps import lock
from stagetools.deploy.tasks import pipeline
from stagetools.deploy.tasks.backups import arrival, before, elsewhere, moving
from stagetools.deploy.tasks.backups.before import hosts_before
from stagetools.deploy.tasks.change import Change
from stagetools.deploy.tree import read_tree
from stagetools.errors import (
    CommandFailed,
    ConnectionFailed,
    Interrupted,
    StageError,
    UsageError,
)
from tests.steps.conftest import OLD
from tests.steps.scripted import failure
from tests.steps.world import Scene
from tests.tasks.test_restoring import KNOWN, contents

LEFT, SERVES = "backup.move.leave", "traffic.switch"
STAYS = (
    "root@203.0.113.7 goes on serving, with its own database, which was not touched."
)


class Move:
    """Two servers, and in which order what ran on which."""

    def __init__(self, old: Scene, new: Scene, root: Path, there: Any) -> None:
        self.old, self.new, self.root, self.there = old, new, root, there
        self.ran: list[tuple[str, str]] = []
        new.world.address = "root@198.51.100.9"
        old.world.at = lambda world, name: self.ran.append(("old", name))
        new.world.at = lambda world, name: self.ran.append(("new", name))

    def run(self) -> None:
        with lock.hold(self.new.session, "ann") as held:
            arrival.Move(
                self.new.session,
                held,
                self.new.facts,
                self.root,
                read_tree(self.root),
                old=self.old.session,
                there=self.there,
            ).run()

    def fails(self, kind: type[StageError] = StageError) -> StageError:
        with pytest.raises(kind) as caught:
            self.run()
        return caught.value

    def at(self, server: str, name: str) -> int:
        return self.ran.index((server, name))


@pytest.fixture
def move(layout, config, ready, deployed, tmp_path, monkeypatch):
    (tmp_path / "manage.py").write_text("")
    monkeypatch.setattr(Change, "new_name", lambda change, of: f"20260131-080000-{of}")

    def move(old: Any = None, new: Any = None, facts: Any = None, there: Any = None):
        held = contents(entry=100)
        here = {
            "backup.repository.sent": held,
            "backup.repository.count": f"live={held}\nuploads=5\nfiles=2\nmoved=\n",
            "backup.repository.files": "5 1.0 a b\x007 2.0 c\x00",
            "backup.repository.key": "k3y",
        } | (old or {})
        arrives = {
            "backup.repository.arrive": f"found={held}\n",
            "backup.repository.files": ["5 1.0 a b\x00", "5 1.0 a b\x007 2.0 c\x00"],
            "database.known": json.dumps({"known": KNOWN}),
        } | (new or {})
        there = there or deployed
        return Move(
            Scene(layout, config, there, answers=here),
            Scene(layout, config, facts or ready, answers=arrives),
            tmp_path,
            there,
        )

    return move


def test_the_old_one_serves_nobody_before_the_new_one_serves(move) -> None:
    made = move()
    made.run()
    assert made.at("old", LEFT) < made.at("new", SERVES)
    assert made.at("old", "traffic.hold") < made.at("old", "compose.freeze")
    last = max(
        i for i, ran in enumerate(made.ran) if ran[1].endswith("repository.arrive")
    )
    assert made.at("old", "compose.freeze") < last < made.at("old", LEFT)
    assert made.at("new", SERVES) < made.at("old", "backup.move.gone")
    steps = made.new.steps
    assert steps[steps.index("Rehearse") :][:7] == [
        *("Rehearse", "Forward", "Hold", "Copy", "Migrate", "Start", "Switch")
    ]
    said = made.new.output.getvalue()
    assert "visitors waited for" in said
    assert "Now give shop.test the address 198.51.100.9 in DNS." in said


def test_its_replica_does_not_wait_for_a_certificate(move) -> None:
    made = move(new={"proxy.visit": failure("tls\n")})
    new = made.new.session
    replica = Replica(url="file:///mnt/copy")
    made.new.session = replace(new, config=replace(new.config, replica=replica))
    assert made.fails().what.startswith("Visit: shop.test does not answer")
    assert made.new.steps[-2:] == ["✗ Visit", "Replica"]


def test_only_uploads_that_are_missing_are_sent(move) -> None:
    made = move()
    made.run()
    assert made.old.world.sent["backup.repository.pick"] == b"c\0"
    gone = move(new={"backup.repository.files": ["5 1.0 a b\x00x 1 z\x00", "5 1.0 a b\x007 2.0 c\x00"]})  # fmt: skip
    gone.run()
    assert gone.new.world.sent["backup.repository.drop"] == b"z\0"


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("new", "backup.move.take_environment"),
        ("old", "backup.move.forward"),
        ("old", "compose.freeze"),
        ("new", "backup.repository.arrive"),
        ("new", "compose.start"),
        ("old", LEFT),
        ("new", SERVES),
    ],
)
def test_where_that_fails_the_old_one_serves_again(move, server, name) -> None:
    made = move(**{server: {name: failure("no")}})
    assert made.fails().untouched == STAYS
    back = made.at("old", "backup.move.come_back")
    assert made.ran.index(("old", "traffic.resume"), back)
    assert ("old", "backup.move.gone") not in made.ran
    assert made.new.world.visitors == ""


def test_ctrl_c_while_visitors_wait_lets_the_old_one_go_on(move) -> None:
    made = move(new={"compose.start": KeyboardInterrupt()})
    assert made.fails(Interrupted).untouched == STAYS
    assert ("old", LEFT) not in made.ran


def test_where_nobody_knows_whether_the_new_one_serves_the_old_one_stays_away(
    move,
) -> None:
    made = move(new={SERVES: ConnectionFailed("gone")})
    error = made.fails(ConnectionFailed)
    assert "both never do" in error.untouched
    assert "The same command again" in error.untouched
    assert ("old", "backup.move.come_back") not in made.ran


def test_a_server_that_was_left_already_is_copied_and_not_held(
    move, ready, deployed
) -> None:
    left = replace(deployed, release="", moved="198.51.100.9")
    made = move(there=left, facts=replace(ready, arriving="203.0.113.7"))
    made.run()
    names = [name for _, name in made.ran]
    assert "traffic.hold" not in names
    assert LEFT not in names
    assert made.at("new", SERVES) < made.at("old", "backup.move.gone")
    coming = replace(ready, arriving="203.0.113.7")
    failed = move(there=left, facts=coming, new={SERVES: failure("no")})
    assert "goes on serving" not in failed.fails().untouched
    assert ("old", "backup.move.come_back") not in failed.ran  # it may not serve again


def test_what_a_move_left_behind_long_ago_does_not_come_back_by_itself(
    move, deployed
) -> None:
    """The new server was lost, and made anew with the same address."""
    made = move(there=replace(deployed, release="", moved="198.51.100.9"))
    error = made.fails(UsageError)
    assert "has nothing of it any more" in error.what
    assert "STAGETOOLS_OLD_HOST=lost" in error.remedy
    assert [name for _, name in made.ran if name != "server.look"] == []


@pytest.mark.parametrize("guard", ["moved", "arriving"])  # the latter, once that failed
def test_a_failed_move_back_leaves_the_old_database_guarded(move, ready, guard) -> None:
    facts = replace(ready, **{guard: "203.0.113.7"})
    made = move(facts=facts, old={LEFT: failure("no")})
    made.fails()
    led = made.at("new", "backup.move.lead_no_more")
    assert made.at("new", "backup.repository.arrive") < led
    assert made.at("old", "backup.move.forward") < led < made.at("old", "traffic.hold")
    assert ("new", "backup.move.expect_no_more") not in made.ran
    made = move(old={LEFT: failure("no")})
    made.fails()
    assert ("new", "backup.move.expect_no_more") in made.ran


def test_a_command_that_began_while_the_visitors_waited_ends_the_move(move) -> None:
    made = move(old={"compose.managing": ["", "abc manage.py import\n"]})
    made.fails()
    assert ("old", LEFT) not in made.ran


def test_one_that_has_moved_elsewhere_is_not_taken_for_this_one_s(
    move, deployed
) -> None:
    left = replace(deployed, release="", moved="192.0.2.1")
    error = move(there=left).fails(UsageError)
    assert "to 192.0.2.1, and not to 198.51.100.9" in error.what


def test_other_rows_than_were_sent_are_refused(move) -> None:
    made = move(old={"backup.repository.sent": contents(entry=101)})
    assert "has other rows on the new server" in made.fails().what


def test_the_backups_need_room_too(move) -> None:
    held = contents(entry=100)
    counted = f"live={held}\nuploads=5\nfiles=2\nmoved=\nvault={10**15}\n"
    made = move(old={"backup.repository.count": counted})
    assert "the move may need 1.0 PB" in made.fails().what
    assert "backup.move.send_environment" not in [name for _, name in made.ran]


def test_where_both_serve_nothing_is_touched(move, deployed) -> None:
    made = move(facts=deployed)
    error = made.fails(UsageError)
    assert error.untouched == "Nothing of the site was changed."
    assert [name for _, name in made.ran if name != "server.look"] == []
    assert made.new.world.serves == OLD


def test_a_site_whose_database_is_the_projects_own_does_not_move_by_itself(
    move, deployed, layout, config
) -> None:
    own = replace(deployed, record=Record(release=OLD, database="postgresql"))
    made = move()
    to = moving.Destination(
        system=layout.system, config=config, terminal=made.new.session.terminal
    )
    with pytest.raises(UsageError, match="is PostgreSQL, the project's own") as caught:
        moving._move(made.root, to, made.old.session, own)
    assert caught.value.untouched == "Nothing was changed."
    assert made.ran == []


# --- which server it was ------------------------------------------------------------------------


def commit(root: Path, host: str) -> None:
    text = f'[stages.prod]\nhost = "{host}"\nport = 2222\n'
    (root / "deploy.toml").write_text(text)
    git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@shop.test"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=root, check=True)


def test_git_knows_where_the_site_was(tmp_path, config) -> None:
    for host in ("192.0.2.1", "192.0.2.2", config.host):
        commit(tmp_path, host)
    found = list(hosts_before(tmp_path / "deploy.toml", config))
    assert [(one.host, one.port) for one in found] == [("192.0.2.2", 2222), ("192.0.2.1", 2222)]  # fmt: skip
    assert found[0].domains == config.domains
    nowhere = tmp_path / "other"
    nowhere.mkdir()
    assert list(hosts_before(nowhere / "deploy.toml", config)) == []


class Asked(Terminal):
    """Somebody who has typed --yes, and answers every question with it."""

    can_ask, answer = True, True

    def confirm(self, question: str, **options: Any) -> bool:
        self.question = question
        return self.answer


def test_one_that_does_not_answer_is_lost_only_if_somebody_says_so(
    tmp_path, config, layout, monkeypatch
) -> None:
    asked = Asked(yes=True)
    to = moving.Destination(system=layout.system, config=config, terminal=asked)
    monkeypatch.setenv(before.OLD_HOST, "192.0.2.1")

    def silent(there: Any, **options: Any) -> Any:
        assert there.config.host == "192.0.2.1"
        raise ConnectionFailed("silent") from TimeoutError()

    monkeypatch.setattr(elsewhere, "open_session", silent)
    assert not moving.moves(tmp_path, to)
    assert "Is it lost?" in asked.question
    asked.answer = False
    with pytest.raises(StageError, match="Not done"):
        moving.moves(tmp_path, to)
    asked.can_ask = (
        False  # --yes alone is no answer: a backup would serve beside the site
    )
    with pytest.raises(StageError, match="Is it lost") as unanswered:
        moving.moves(tmp_path, to)
    assert "STAGETOOLS_OLD_HOST=lost" in unanswered.value.remedy
    monkeypatch.setattr(elsewhere, "open_session", refused)
    with pytest.raises(ConnectionFailed, match="another key") as caught:
        moving.moves(tmp_path, to)
    assert "STAGETOOLS_OLD_HOST=lost" in caught.value.remedy
    monkeypatch.setenv(before.OLD_HOST, before.LOST)
    assert not moving.moves(tmp_path, to)


@pytest.mark.parametrize(
    ("there", "moves"),
    [
        ({"192.0.2.2": "release", "192.0.2.1": "release"}, "192.0.2.2"),
        ({"192.0.2.1": "release"}, "192.0.2.1"),  # the last one was given up
        ({"192.0.2.2": "moved", "192.0.2.1": "release"}, "192.0.2.2"),  # that is older
        ({}, ""),
    ],
)
def test_each_server_that_git_knows_is_asked_whether_the_site_is_there(
    servers, there: dict[str, str], moves: str
) -> None:
    assert servers(there) == ([moves] if moves else [])


def test_where_a_later_server_is_silent_an_earlier_one_is_not_taken(servers) -> None:
    with pytest.raises(UsageError, match=r"was on 192\.0\.2\.2 after that") as caught:
        servers({"192.0.2.2": "silent", "192.0.2.1": "release"})
    assert "STAGETOOLS_OLD_HOST=192.0.2.1" in caught.value.remedy
    assert servers({"192.0.2.2": "release", "192.0.2.1": "silent"}) == ["192.0.2.2"]


@pytest.fixture
def servers(tmp_path, config, layout, deployed, monkeypatch):
    """What git knows, each as it stands; from which of them the site moves."""
    for host in ("192.0.2.1", "192.0.2.2", config.host):
        commit(tmp_path, host)
    to = moving.Destination(system=layout.system, config=config, terminal=Asked())
    moved: list[str] = []

    monkeypatch.setattr(
        moving, "_move", lambda root, to, old, facts, **_: moved.append(old.config.host)
    )

    def run(there: dict[str, str]) -> list[str]:
        kinds = {
            "release": deployed,
            "moved": replace(deployed, release="", moved=config.host),
            "": replace(deployed, release=""),
        }

        @contextmanager
        def opened(to: Any, **options: Any) -> Any:
            if (kind := there.get(to.config.host, "")) == "silent":
                raise ConnectionFailed("silent") from TimeoutError()
            yield Scene(layout, to.config, kinds[kind]).session

        moved.clear()
        monkeypatch.setattr(elsewhere, "open_session", opened)
        assert moving.moves(tmp_path, to) == bool(moved)
        return moved

    return run


def refused(there: Any, **options: Any) -> Any:
    raise ConnectionFailed("another key") from ValueError()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("moved 198.51.100.9", "shop_prod has moved from root@203.0.113.7 to 198.51.100.9"),
        ("arriving 192.0.2.1", "was about to come to root@203.0.113.7 from 192.0.2.1"),
    ],
)  # fmt: skip
def test_no_other_task_begins_where_the_site_is_not(
    layout, config, deployed, said: str, what: str
) -> None:
    scene = Scene(layout, config, deployed)
    scene.world.lock = said
    with pytest.raises(StageError, match=what) as caught:
        lock.hold(scene.session, "ann").__enter__()
    assert "inv deploy --restore" in caught.value.remedy
    assert caught.value.untouched.startswith("Nothing was changed.")


# --- a first deploy where it is not -------------------------------------------------------------


@pytest.fixture
def first(tmp_path, config, layout, ready, deployed, monkeypatch):
    """A plain first deploy, where git knows other servers, each as it stands."""
    (tmp_path / "manage.py").write_text("")
    for host in ("192.0.2.1", "192.0.2.2", config.host):
        commit(tmp_path, host)
    asked: list[str] = []

    def first(
        there: dict[str, Any],
        facts: Any = ready,
        *,
        yes: bool = False,
        terminal: Any = None,
    ) -> Scene:
        @contextmanager
        def opened(to: Any, **options: Any) -> Any:
            asked.append(to.config.host)
            if isinstance(error := there.get(to.config.host), Exception):
                raise error
            seen = replace(deployed, **there.get(to.config.host, {"release": ""}))
            old = Scene(layout, to.config, seen)
            old.world.address = f"root@{to.config.host}"
            yield old.session

        monkeypatch.setattr(elsewhere, "open_session", opened)
        scene = Scene(layout, config, facts, yes=yes)
        if terminal:
            scene.session = replace(scene.session, terminal=terminal)
        with lock.hold(scene.session, "ann") as held:
            tree = read_tree(tmp_path)
            pipeline.Deploy(scene.session, held, scene.facts, tmp_path, tree).run()
        return scene

    first.asked = asked  # type: ignore[attr-defined]
    return first


@pytest.mark.parametrize(
    ("there", "says", "to_do"),
    [
        ({}, r"shop_prod is on root@192\.0\.2\.[12], with its database", "it has: inv deploy --restore."),
        ({"release": "", "moved": "203.0.113.7"}, "to 203.0.113.7, and nothing of it", "=lost inv deploy --restore."),
        ({"release": "", "moved": "192.0.2.9"}, r"to 192\.0\.2\.9\. This", "=192.0.2.9 inv deploy --restore."),
    ],
)  # fmt: skip
def test_no_empty_site_begins_beside_one_that_git_knows(
    first, monkeypatch, there: dict[str, str], says: str, to_do: str
) -> None:
    """--yes does not agree to it: nobody was asked."""
    for host in ("192.0.2.2", "192.0.2.1"):  # the last one has been given up
        with pytest.raises(UsageError, match=says) as caught:
            first({host: there}, yes=True)
        assert "would put an empty site on 203.0.113.7." in caught.value.what
        assert caught.value.untouched == "Nothing was changed."
        assert to_do in caught.value.remedy
    monkeypatch.setenv(before.OLD_HOST, before.LOST)
    assert "Switch" in first({"192.0.2.2": there}).steps


def test_nobody_is_asked_where_it_is_here_or_nowhere(first, deployed) -> None:
    assert "Switch" in first({}).steps
    assert first.asked == ["192.0.2.2", "192.0.2.1"]
    first.asked.clear()
    assert "Switch" in first({"192.0.2.2": {}}, deployed).steps
    assert first.asked == []


@pytest.mark.parametrize("error", [ConnectionFailed("silent"), UsageError("a changed key"), CommandFailed("x", status=1)])  # fmt: skip
def test_a_server_that_cannot_be_asked_is_a_question(first, error: StageError) -> None:
    """And --yes does not answer it."""
    there = {"192.0.2.2": error}
    with pytest.raises(StageError, match="may have been before, cannot be") as caught:
        first(there, yes=True)
    assert caught.value.untouched.startswith("Nothing was answered")
    assert "STAGETOOLS_OLD_HOST=lost inv deploy." in caught.value.remedy
    assert "192.0.2.1" not in caught.value.what
    asked = Asked(yes=True)
    assert first(there, terminal=asked).world.serves
    assert "cannot be asked" in asked.question
    asked.answer = False
    with pytest.raises(StageError, match="Not done"):
        first(there, terminal=asked)


def test_a_history_that_is_cut_off_tells_nothing_and_that_is_a_question(
    first, tmp_path, monkeypatch
) -> None:
    """As in CI, where only the last commit is fetched."""
    (tmp_path / ".git/shallow").write_bytes(
        subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tmp_path)
    )
    with pytest.raises(StageError, match="a shallow clone") as caught:
        first({}, yes=True)
    assert "STAGETOOLS_OLD_HOST=lost inv deploy." in caught.value.remedy
    assert first.asked == []
    monkeypatch.setenv(before.OLD_HOST, before.LOST)
    assert "Switch" in first({}).steps


def test_the_deploy_job_fetches_the_whole_history() -> None:
    workflow = Path(__file__).parents[2] / "template/.github/workflows/deploy.yml"
    checkout = yaml.safe_load(workflow.read_text())["jobs"]["deploy"]["steps"][0]
    assert checkout["with"] == {"fetch-depth": 0}
