"""Every command of every change fails once, in each way: what visitors get, and what is said."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from stagetools.deploy.steps import lock
from stagetools.deploy.tasks import on_copy, relaunch, rollback
from stagetools.deploy.tasks.backups import restoring
from stagetools.deploy.tasks.change import Change
from stagetools.deploy.tasks.pipeline import Deploy
from stagetools.deploy.tree import read_tree
from stagetools.errors import ConnectionFailed, StageError
from tests.steps.conftest import OLD
from tests.steps.scripted import Answer, failure
from tests.steps.world import Half, Scene, World
from tests.tasks.test_deploy import BREAKING, MIGRATES
from tests.tasks.test_restoring import KNOWN as MIGRATIONS
from tests.tasks.test_restoring import LISTED, taken
from tests.tasks.test_rollback import NONE, RECORDS, UNKNOWN

NEW = "20260131-080000-new"
KNOWN = "".join(f"1000\t{record.to_json()}\n" for record in RECORDS)
UNDOES: dict[str, Answer] = {"database.unknown": [UNKNOWN, NONE]}
BROUGHT_BACK: dict[str, Answer] = {
    "backup.repository.listed": LISTED,
    "backup.repository.take": taken(MIGRATIONS[:2], entry=100),  # of an older schema
    "backup.repository.uploads": "uploads=2\n",
    "database.known": json.dumps({"known": MIGRATIONS}),
}

CHANGES: dict[str, dict[str, Any]] = {
    "a deploy": {},
    "a deploy that migrates": MIGRATES,
    "a deploy on a copy": BREAKING,
    "a rollback": {},
    "a rollback that undoes": UNDOES,
    "a restore": {},
    "a restore of a backup": BROUGHT_BACK,
    "a restart": {},
}


@pytest.fixture
def play(layout, config, deployed, tmp_path, monkeypatch) -> Callable[..., Scene]:
    """Run a change; `at` is told before each command. A new world each time."""
    (tmp_path / "manage.py").write_text("")
    tree = read_tree(tmp_path)  # once: a deploy is played for each of its commands
    monkeypatch.setattr(Change, "new_name", lambda change, of: NEW)

    def deploy(scene: Scene) -> None:
        with lock.hold(scene.session, "ann") as held:
            Deploy(scene.session, held, scene.facts, tmp_path, tree).run()

    def play(change: str, at: Callable[[World, str], None] | None = None) -> Scene:
        answers = {
            "releases.records": KNOWN,
            "database.unknown": NONE,
            **CHANGES[change],
        }
        scene = Scene(layout, config, deployed, answers=answers)
        if at:
            scene.world.at = at
        monkeypatch.setattr(on_copy.time, "monotonic", lambda: scene.world.now)
        tasks: dict[str, Callable[[], None]] = {
            "a restart": partial(relaunch.restart, scene.session),
            "a restore of a backup": partial(
                restoring.restore, scene.session, "latest"
            ),
            "a restore": partial(
                rollback.roll_back, scene.session, restore_database=True
            ),
        }
        rolls = partial(rollback.roll_back, scene.session)
        deploys = partial(deploy, scene)
        scene.error = None  # type: ignore[attr-defined]
        try:
            tasks.get(change, deploys if "deploy" in change else rolls)()
        except StageError as error:
            scene.error = error  # type: ignore[attr-defined]
        return scene

    return play


@dataclass
class Fault:
    """What becomes of the command at a place; `after` lets it do its work first."""

    place: int
    make: Callable[[], BaseException]
    after: bool = False
    for_good: bool = False  # each later command fails likewise
    seen: int = -1
    struck: str = ""

    def __call__(self, world: World, name: str) -> None:
        self.seen += 1
        if self.seen == self.place:
            self.struck = name
            if not self.after:
                raise self.make()
            world.script[name] = Once(
                self.make(), world.script.get(name, None), world, name
            )
        elif self.struck and self.for_good:
            raise self.make()


class Once(list):  # type: ignore[type-arg]
    """An answer that comes once; then the one before it does again."""

    def __init__(self, error: BaseException, before: Any, world: World, name: str):
        super().__init__([Half(error), None])
        self.world, self.name, self.before = world, name, before

    def pop(self, index: Any = -1) -> Any:
        if self.before is None:
            del self.world.script[self.name]
        else:
            self.world.script[self.name] = self.before
        return super().pop(index)


def failed() -> BaseException:
    return failure("No space left on device")


def lost() -> BaseException:
    return ConnectionFailed("The connection was lost.", remedy="Look at the network.")


def faults(scene: Scene, make, **how: bool) -> list[Fault]:
    """One for each command of a change, but for those that look before it begins."""
    assert scene.error is None
    names = scene.world.names
    first = next(n for n, name in enumerate(names) if name not in LOOKS)
    return [Fault(place, make, **how) for place in range(first, len(names))]


LOOKS = ("server.look", "releases.records", "backup.repository.listed")


def said(scene: Scene) -> str:
    return scene.error.untouched


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("make", [failed, KeyboardInterrupt], ids=["fails", "ctrl-c"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_fails_visitors_get_one_release_and_that_is_said(
    play, change: str, make, after: bool
) -> None:
    """Nobody waits, no database is left over, and nothing but what serves has a container."""
    tried = 0
    for fault in faults(play(change), make, after=after):
        scene = play(change, fault)
        if scene.error is None:  # it was no reason to refuse
            continue
        tried += 1
        world, where = scene.world, f"{fault.struck} ({fault.place})"
        assert world.visitors == world.serves, where
        assert not world.held, where
        assert not world.frozen, where
        if world.serves == OLD:
            assert world.containers == {OLD}, where
            assert not world.copies, where
            assert f"{OLD} goes on serving." in said(scene), where
            live = "database.migrate" in world.names and not world.ever_held
            live = live and change != "a restore of a backup"  # its own copy alone
            touched = "Its database was not touched." not in said(scene)
            assert touched or not live, where
        elif world.serves == NEW:
            assert said(scene) == f"{NEW} serves.", where
        assert scene.error.remedy, where
    assert tried


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("make", [failed, KeyboardInterrupt], ids=["fails", "ctrl-c"])
@pytest.mark.parametrize("change", ["a restore", "a restore of a backup"])
def test_the_database_before_is_kept_whatever_fails_after_the_switch(
    play, change: str, make, after: bool
) -> None:
    """Else it would not be listed, and a later restore would let it go."""
    tried = 0
    for fault in faults(play(change), make, after=after):
        world, where = play(change, fault).world, f"{fault.struck} ({fault.place})"
        if world.serves != NEW:
            continue
        tried += 1
        names = world.names[world.names.index("traffic.switch") :]
        assert "data.retire" in names, where
        assert "releases.prune" not in names[: names.index("data.retire")], where
        assert world.containers == {NEW}, where
    assert tried


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_after_a_lost_connection_nothing_is_tried_and_what_may_be_is_said(
    play, change: str, after: bool
) -> None:
    for fault in faults(play(change), lost, after=after, for_good=True):
        scene = play(change, fault)
        world, where = scene.world, f"{fault.struck} ({fault.place})"
        assert fault.seen == fault.place, where  # what came after was not tried
        words = said(scene)
        if fault.struck == "traffic.switch":
            assert words.startswith("Either "), where
        elif world.serves == NEW:
            assert words.startswith(f"{NEW} served when the connection was lost"), where
        elif world.held or fault.struck == "traffic.hold":
            assert words.startswith("Visitors were waiting; the server lets"), where
        else:
            assert f"{OLD} goes on serving." in words, where


@pytest.mark.parametrize("change", CHANGES)
def test_where_nothing_can_be_undone_the_words_say_so(play, change: str) -> None:
    """The engine has died, for example: every later command fails as well."""
    for fault in faults(play(change), failed, after=True, for_good=True):
        scene = play(change, fault)
        world, where = scene.world, f"{fault.struck} ({fault.place})"
        if scene.error is None:  # it was no reason to refuse
            continue
        words = said(scene)
        if fault.struck == "traffic.switch":
            assert words.startswith("Either "), where
        elif world.serves == NEW:
            assert words == f"{NEW} serves.", where
        elif world.held:
            assert words.startswith(f"Visitors still wait for {OLD}"), where
        else:
            assert f"{OLD} goes on serving." in words, where


@pytest.mark.parametrize("change", CHANGES)
def test_while_it_is_in_doubt_what_serves_nothing_is_taken_away(
    play, change: str
) -> None:
    """The switch was made, its answer was lost, and the server cannot be looked at."""

    def at(world: World, name: str) -> None:
        if name == "traffic.switch":
            world.script[name] = Half(failed())
            world.script["server.look"] = failed()

    scene = play(change, at)
    world = scene.world
    assert said(scene).startswith("Either ")
    assert NEW in world.containers
    assert not {"compose.sweep", "data.discard", "releases.prune"} & {
        *world.names[world.names.index("traffic.switch") :]
    }
    assert not world.held
