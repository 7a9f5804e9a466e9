"""`inv clone` on two servers in memory: what is refused, in which order, and what then serves."""

import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from rich.console import Console

from stagetools.deploy.commands.backup import repository
from stagetools.deploy.facts import Record
from stagetools.deploy.host.dry import WOULD, DryHost, DryTerminal
from stagetools.deploy.host.host import Writes
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import DISK
from stagetools.deploy.shell import Command
from stagetools.deploy.steps import clone as steps
from stagetools.deploy.tasks.backups import cloning
from stagetools.deploy.tasks.change import Change
from stagetools.errors import ConnectionFailed, LockHeld, StageError, UsageError
from stagetools.utils import get_expected_system_from_name
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure
from tests.steps.world import Scene

KNOWN = ["auth.0001", "shop.0001", "shop.0002"]
STAYS = f"{OLD} goes on serving. Its database was not touched."
NAME = "20260131-080000-0000000"


def contents(migrations: list[str] = KNOWN, **tables: int) -> str:
    values = {"bytes": 4096, "rows": 1, "made": 5, "migrations": migrations}
    return json.dumps(values | {"tables": tables})


def counted(uploads: int = 5, moved: str = "", **tables: int) -> str:
    return f"live={contents(**tables)}\nuploads={uploads}\nfiles=2\nmoved={moved}\n"


def taken(migrations: list[str] = KNOWN) -> str:
    return f"found={contents(migrations, entry=900)}\nlive={contents(entry=20)}\n"


@dataclass
class Desk:
    """Production and qualification, each on a server of its own."""

    source: Scene
    target: Scene
    order: list[str]

    def clone(self, *, wait: float = 0) -> None:
        cloning.clone(self.source.session, self.target.session, wait=wait)

    @property
    def said(self) -> str:
        return self.target.output.getvalue()


def noting(scene: Scene, order: list[str], at: Any) -> None:
    """Write down what runs on that server, and when its lock is taken and given back."""
    world, stage = scene.world, scene.config.stage_name
    start = world.start

    def starts(command: Command) -> Any:
        holder = start(command)
        order.append(f"{stage} lock")
        close = holder.close

        def closes() -> None:
            order.append(f"{stage} unlock")
            close()

        holder.close = closes
        return holder

    def looked(its: Any, name: str) -> None:
        order.append(f"{stage} {name}")
        if at:
            at(its, name)

    world.start = starts  # type: ignore[method-assign]
    world.at = looked


@pytest.fixture
def desk(layout, config, deployed, monkeypatch) -> Callable[..., Desk]:
    monkeypatch.setattr(Change, "new_name", lambda change, of: f"20260131-080000-{of}")

    def desk(
        *, yes: bool = True, source: Any = None, target: Any = None, at: Any = None
    ) -> Desk:
        from stagetools.deploy.host.site import Site
        from stagetools.deploy.steps import backup

        qual = Layout(get_expected_system_from_name("shop_qual"))
        there = {
            "backup.repository.count": counted(uploads=70, entry=900),
            "backup.repository.send_database": "SQLite format 3 and more",
            "backup.repository.send_uploads": "a tar file",
        }
        here = {
            "backup.repository.count": counted(entry=20),
            "backup.repository.make": "made=5c1438aa database=4096 rows=2 media=5 added=9\n",
            "backup.repository.take": taken(),
            "backup.repository.receive": "received=3\n",
            "database.known": json.dumps({"known": KNOWN}),
            "database.commands": "check\nmigrate\nanonymise\n",
            "database.manage": "20 names replaced\n",
        }
        of_qual = replace(config, stage_name="qual", domains=("qual.shop.test",))
        facts = replace(
            deployed,
            domains=of_qual.domains,
            backups=backup.wanted(Site(None, qual, of_qual)),  # type: ignore[arg-type]
            containers=tuple(
                replace(one, system="shop_qual") for one in deployed.containers
            ),
        )
        made = Desk(
            Scene(layout, config, deployed, answers=there | (source or {})),
            Scene(qual, of_qual, facts, yes=yes, answers=here | (target or {})),
            [],
        )
        noting(made.source, made.order, None)
        noting(made.target, made.order, at)
        return made

    return desk


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("qual", "prod", "shop_prod is production: no other stage's data go there."),
        ("prod", "prod", "shop_prod is production"),
        ("qual", "preview", "shop_preview is production"),  # by its first letter
        ("qual", "qual", "shop_qual cannot be cloned onto itself."),
        ("", "qual", "Two stages are needed"),
    ],
)
def test_stages_that_cannot_be_meant_are_refused(
    source: str, target: str, said: str
) -> None:
    here = get_expected_system_from_name("shop_dev")
    with pytest.raises(UsageError) as caught:
        cloning.refuse(source, target, here)
    assert caught.value.what.startswith(said)
    assert caught.value.untouched == "Nothing was changed."
    assert caught.value.remedy


# --- the whole of it ------------------------------------------------------------------------------


def test_the_copy_is_anonymised_before_anything_of_it_starts(desk) -> None:
    made = desk()
    made.clone()
    target = made.target
    assert target.steps == [
        *("Backup", "Prepare", "Copy", "Migrate", "Anonymise", "Start", "Switch"),
        *("Drain", "Clean up", "Prune"),
    ]
    ran = target.world.names
    for first, then in (
        ("backup.repository.make", "backup.repository.take"),
        ("backup.repository.receive", "database.manage"),
        ("database.manage", "compose.start_beside"),
        ("compose.start_beside", "traffic.switch"),
        ("traffic.switch", "data.adopt_uploads"),
        ("data.adopt_uploads", "releases.prune"),
    ):
        assert ran.index(first) < ran.index(then), (first, then)
    assert target.world.of("database.manage") == {
        "layout": target.layout, "release": NAME, "words": ("anonymise",),
    }  # fmt: skip
    assert (target.written.why, target.written.origin) == ("clone", OLD)
    assert target.world.visitors == NAME


def test_the_release_has_database_and_uploads_of_its_own_until_the_switch(desk) -> None:
    made = desk()
    made.clone()
    written = made.target.world.sent["files.write_text"].decode()
    layout = made.target.layout
    assert f"STAGETOOLS_DATA={layout.data_copy(NAME)}\n" in written
    assert f"STAGETOOLS_MEDIA={layout.media_copy(NAME)}\n" in written


def test_it_goes_from_one_connection_to_the_other(desk) -> None:
    made = desk()
    made.clone()
    sent = made.target.world.sent
    assert sent["backup.repository.take"] == b"SQLite format 3 and more"
    assert made.target.world.of("backup.repository.take")["source"] == "clone"
    assert sent["backup.repository.receive"] == b"a tar file"


def test_no_more_is_taken_than_the_source_has_said(desk) -> None:
    """It is another server, and may send without end."""
    made = desk()
    made.clone()
    of = made.target.world.of
    assert of("backup.repository.take")["at_most"] == DISK.at_most(4096)
    assert of("backup.repository.receive")["at_most"] == DISK.at_most(70, 2)


def test_the_source_is_looked_at_and_copied_and_never_changed(desk) -> None:
    made = desk()
    made.clone()
    assert made.source.world.names == [
        "server.look",
        "backup.repository.count",
        "backup.repository.send_database",
        "backup.repository.send_uploads",
    ]


def test_both_locks_are_held_while_it_is_copied_and_taken_by_name(desk) -> None:
    made = desk()
    made.clone()
    order = made.order
    assert [one for one in order if one.endswith("lock")] == [
        *("prod lock", "qual lock", "prod unlock", "qual unlock")
    ]
    assert (
        order.index("prod lock")
        < order.index("qual lock")
        < order.index("prod backup.repository.send_database")
        < order.index("prod backup.repository.send_uploads")
        < order.index("prod unlock")
        < order.index("qual database.manage")
    )
    assert made.target.world.of("backup.repository.make")["later"]  # hours, elsewhere
    # its backup takes that lock itself, and a question is asked with none
    assert order.index("qual backup.repository.make") < order.index("prod lock")


def test_it_says_first_what_is_replaced(desk) -> None:
    made = desk()
    made.clone()
    assert "entry: 20 rows now, 900 rows in prod\n" in made.said
    assert (
        "The database (4.1 kB) and the uploads (5 bytes) of shop_qual on root@203.0.113.7"
        " will be replaced by those of shop_prod (4.1 kB, 70 bytes); a backup is made first."
        " The project's command anonymise runs on the copy before anybody sees it." in made.said
    )  # fmt: skip


def test_a_project_without_the_command_is_told_so(desk) -> None:
    made = desk(target={"database.commands": "check\nmigrate\n"})
    made.clone()
    assert (
        "The project has no command anonymise: the data stay as they are." in made.said
    )
    assert "database.manage" not in made.target.world.names


def test_an_older_schema_is_brought_up_before_it_is_anonymised(desk) -> None:
    made = desk(target={"backup.repository.take": taken(KNOWN[:2])})
    made.clone()
    ran = made.target.world.names
    assert ran.index("database.migrate") < ran.index("database.manage")


def test_a_dry_run_looks_at_both_and_changes_neither(desk) -> None:
    made = desk()
    shown = io.StringIO()
    terminal = DryTerminal(Console(file=shown, width=200))
    sessions = [
        replace(
            scene.session,
            host=DryHost(scene.world, terminal, needs_sudo=False),
            terminal=terminal,
        )
        for scene in (made.source, made.target)
    ]
    cloning.clone(*sessions)
    assert made.source.world.names == ["server.look"]
    looks = {"server.look", "compose.managing"}
    assert set(made.target.world.names) == looks
    said = shown.getvalue()
    for title in ("Backup", "Copy", "Anonymise", "Switch"):
        assert f"{title:<10} {WOULD[title]}" in said
    assert "would ask: The database" in said


# --- refused, or failed ---------------------------------------------------------------------------


def refused(made: Desk) -> StageError:
    with pytest.raises(StageError) as caught:
        made.clone()
    for scene in (made.source, made.target):
        assert scene.world.visitors == OLD
        assert scene.world.copies == set()
    locks = [one.split()[1] for one in made.order if one.endswith("lock")]
    assert locks.count("lock") == locks.count("unlock")
    return caught.value


def test_nothing_is_replaced_unless_the_answer_is_yes(desk) -> None:
    made = desk(yes=False)
    assert "will be replaced" in refused(made).what
    assert "qual lock" not in made.order
    assert "backup.repository.make" not in made.target.world.names


@pytest.mark.parametrize("of", ["source", "target"])
def test_a_server_of_an_older_version_is_made_ready_only_if_the_answer_is_yes(
    desk, of: str
) -> None:
    for yes in (False, True):
        made = desk(yes=yes)
        scene = getattr(made, of)
        made.source.session.terminal.yes = yes
        world = scene.world
        world.facts = replace(world.facts, backups="", overlays="of 0.1.0")
        world.script["backup.setup.install"] = "key\n"
        setting_up = {
            "compose.write_overlays",
            "server.ensure_account",
            "backup.setup.install",
        }
        if not yes:
            assert "A clone needs the backups of shop_" in refused(made).what
            assert not setting_up & set(world.names)
        else:
            made.clone()
            assert setting_up <= set(world.names)
            assert scene.steps[:2] == ["Account", "Backups"]


def test_a_newer_schema_is_refused_before_the_uploads_come(desk) -> None:
    made = desk(target={"backup.repository.take": taken([*KNOWN, "shop.0003"])})
    error = refused(made)
    assert error.what == (
        "shop_prod has migrations that the release does not know: shop.0003."
    )
    assert error.untouched == STAYS
    assert error.remedy.startswith("Deploy what prod serves to qual first")
    assert "backup.repository.send_uploads" not in made.source.world.names


def test_a_database_of_the_projects_own_is_not_cloned(desk) -> None:
    made = desk()
    record = Record(release=OLD, database="mysql")
    made.source.world.facts = replace(made.source.world.facts, record=record)
    with pytest.raises(UsageError, match="is MySQL, the project's own"):
        made.clone()
    assert made.order == ["prod server.look"]


def test_an_anonymise_that_fails_leaves_what_serves_and_no_copy(desk) -> None:
    made = desk(target={"database.manage": failure("KeyError: 'email'")})
    error = refused(made)
    assert error.what.startswith("Anonymise: the project's command anonymise failed")
    assert error.untouched == STAYS
    assert "compose.start_beside" not in made.target.world.names
    assert "KeyError: 'email'" in made.said


@pytest.mark.parametrize(
    "fails",
    [
        *("backup.repository.make", "backup.repository.take", "backup.repository.receive"),
        *("releases.duplicate", "database.known", "database.migrate", "traffic.switch"),
        "compose.start_beside",
    ],
)  # fmt: skip
def test_a_failure_at_any_step_leaves_the_target_s_own(desk, fails: str) -> None:
    answers = {"backup.repository.take": taken(KNOWN[:1]), fails: failure("no")}
    own = STAYS.partition(".")[0]
    if fails == "backup.repository.make":
        own = "shop_qual serves its own data"
    assert refused(desk(target=answers)).untouched.startswith(own)


@pytest.mark.parametrize(
    "where", ["backup.repository.take", "database.manage", "traffic.switch"]
)
def test_ctrl_c_at_any_step_leaves_the_target_s_own(desk, where: str) -> None:
    made = desk(target={where: KeyboardInterrupt()})
    assert refused(made).untouched == STAYS
    if where == "database.manage":
        assert "database.end" in made.target.world.names


@pytest.mark.parametrize("what", ["send_database", "send_uploads"])
def test_what_the_source_did_not_send_whole_is_thrown_away(desk, what: str) -> None:
    made = desk(source={f"backup.repository.{what}": failure("No space left")})
    error = refused(made)
    assert "of shop_prod did not arrive whole: No space left" in error.what
    assert error.untouched == STAYS


def test_a_connection_to_the_source_that_is_lost_is_none_of_the_target_s(desk) -> None:
    lost = ConnectionFailed("gone", untouched="u", remedy="r")
    error = refused(desk(source={"backup.repository.send_database": lost}))
    assert error.what == "Copy: the connection to root@203.0.113.7 was lost."
    assert error.untouched == STAYS


def test_a_source_whose_lock_was_lost_may_be_no_whole(desk) -> None:
    made = desk()
    world = made.source.world
    noted = world.at

    def lose(its: Any, name: str) -> None:
        noted(its, name)
        if name == "backup.repository.send_uploads":
            its.holder.over = True

    world.at = lose
    error = refused(made)
    assert error.what.startswith("Copy: the lock of shop_prod was lost")
    assert error.untouched == STAYS


def test_a_lock_that_somebody_has_is_told_and_the_other_is_given_back(desk) -> None:
    made = desk()
    made.target.world.lock = "ann@desk deploys"
    with pytest.raises(LockHeld, match="shop_qual is being changed right now: ann"):
        made.clone()
    assert made.order[-2:] == ["qual unlock", "prod unlock"]


def test_another_release_meanwhile_is_asked_about_again(desk) -> None:
    """Its anonymise is another one, or it has none."""

    def deployed_meanwhile(its: Any, name: str) -> None:
        if name == "backup.repository.make":
            its.serves = "20260131-075959-1111111"
            its.containers.add(its.serves)

    made = desk(at=deployed_meanwhile)
    with pytest.raises(StageError, match="was put before the users of shop_qual"):
        made.clone()
    assert "backup.repository.take" not in made.target.world.names


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"backup.repository.count": counted(moved="yes", entry=1)}, "is a link that was made by hand"),
        ({"backup.repository.count": failure("No release serves.")}, "cannot be read: No release serves."),
        ({"database.commands": failure("ImportError")}, "could not be found out"),
        ({"database.commands": "some noise of the project\n"}, "could not be found out"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_told_before_anybody_is_asked(
    desk, target: dict, said: str
) -> None:
    made = desk(target=target)
    error = refused(made)
    assert said in error.what
    assert error.untouched == "Nothing was changed."
    assert "Continue?" not in made.said


def test_a_disk_that_is_too_small_is_told_beforehand(desk) -> None:
    made = desk(source={"backup.repository.count": counted(uploads=10**15, entry=1)})
    assert "the clone may need 1.0 PB" in refused(made).what


# --- the stream -----------------------------------------------------------------------------------


class Sends(ScriptedHost):
    """A server that sends so many pieces, and counts those that somebody took."""

    pieces = 0

    def receive(self, command: Command, to: Writes) -> None:
        for _ in range(100):
            to.write(b"x" * 1000)
            self.pieces += 1


def test_little_of_it_is_here_at_any_time(layout, at) -> None:
    sender = Sends({})
    waits = threading.Event()

    class Slow(ScriptedHost):
        def run(self, command: Command, *, stdin: Any = b"", **options: Any) -> str:
            waits.wait(0.5)
            self.seen = sender.pieces
            return super().run(command, stdin=stdin, **options)

    takes = repository.receive(layout, "R9", at_most=10**6)
    slow = Slow({takes.text: "received=1"})
    steps.pass_on(at(sender), repository.send_uploads(layout), at(slow), takes)
    assert slow.seen <= 5
    assert len(slow.sent[takes.text]) == 100_000


def test_a_stream_whose_client_is_gone_keeps_no_lock(layout) -> None:
    """It ends with its connection, which may take the server an hour to notice."""
    assert repository.take(layout, "R9", "-").loose
    assert repository.receive(layout, "R9", at_most=10**6).loose


def test_a_sender_ends_when_nobody_takes_it_any_more(layout, at) -> None:
    sender = Sends({})

    class Full(ScriptedHost):
        def run(self, command: Command, *, stdin: Any = b"", **options: Any) -> str:
            stdin.read(1000)
            raise failure("No space left on device")

    with pytest.raises(StageError, match="No space left on device"):
        steps.copy_uploads(
            at(sender), at(Full({})), "R9", steps.Stage(contents=None, uploads=0)
        )  # type: ignore[arg-type]
    assert sender.pieces < 10
