"""What `inv status` and `inv releases` tell of a stage, and in which words."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from stagetools.deploy.commands import logs as journal
from stagetools.deploy.commands import releases as commands
from stagetools.deploy.commands import server as look
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.facts import Record
from stagetools.deploy.replicas import Replica
from stagetools.deploy.steps import server
from stagetools.deploy.tasks import inspect
from stagetools.deploy.tasks.session import Session
from stagetools.errors import StageError, UsageError
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure

WELL = '{"well": true, "said": "200"}\n'
SICK = failure('{"well": false, "said": "503 the database is away"}\n')
EVENT = "2026-01-31T08:00:00.000Z ERROR 21377b6d3a9fa2cb shop.views:"
FIRST = "20260130-070000-1111111"


@pytest.fixture
def desk(layout, config, deployed, monkeypatch):
    """A stage whose release answers the probe as it is told to."""

    def desk(probe, watch="now=100000\n", **facts) -> Session:
        seen = replace(deployed, **facts)
        monkeypatch.setattr(server, "look", lambda site: seen)
        made = {"fingerprint": "f", "who": "ann@desk", "commit": "c1"}
        records = [
            Record(
                release=OLD,
                at="2026-01-31T07:00:00+00:00",
                migrations=("shop.0002",),
                **made,
            ),
            Record(release=FIRST, at="2026-01-30T07:00:00+00:00", **made),
        ]
        said = {
            "compose.probe": probe,
            look.uptime().text: "up 3 days\n",
            "backup.repository.watch": watch,
            commands.records(layout).text: "".join(
                f"120000000\t{record.to_json()}\n" for record in records
            ),
        }
        terminal = Terminal(Console(file=io.StringIO(), width=200))
        return Session(ScriptedHost(said), layout, config, terminal)

    return desk


def printed(stage: Session) -> str:
    return stage.terminal.console.file.getvalue()


def test_a_release_that_is_well_is_called_healthy(desk) -> None:
    stage = desk(WELL, record=Record(release=OLD, fingerprint="f", who="ann@desk",
                                     commit="c1", at="2026-01-31T07:00:00+00:00"))  # fmt: skip
    inspect.status(stage)
    assert "health   healthy\n" in printed(stage)
    assert "by ann@desk, commit c1" in printed(stage)


def test_one_that_is_not_is_told_in_its_own_words(desk) -> None:
    stage = desk(SICK, record=None)
    with pytest.raises(StageError, match="503 the database is away"):
        inspect.status(stage)
    assert "health   503 the database is away\n" in printed(stage)


def test_a_restore_that_was_cut_off_before_the_timers_is_a_trouble(desk) -> None:
    stage = desk(WELL, watch="now=1000\nsince=900\nunfinished=yes\n", record=None)
    with pytest.raises(StageError, match="inv deploy --restore was cut off") as caught:
        inspect.status(stage)
    assert "backup   not set up: inv deploy does it\n" in printed(stage)
    assert caught.value.remedy == "Set them up: inv deploy"


def test_so_is_a_replica_that_is_wanted_and_not_there(desk) -> None:
    stage = desk(WELL, record=None)
    wanted = replace(stage.config, replica=Replica(url="s3://bucket/shop"))
    with pytest.raises(StageError, match="shop_prod has no replica yet") as caught:
        inspect.status(replace(stage, config=wanted))
    assert "replica  not set up: inv deploy does it\n" in printed(stage)
    assert caught.value.remedy == "Set it up: inv deploy"


def test_the_domains_are_those_that_are_served(desk) -> None:
    stage = desk(WELL, record=None, domains=("old.test", "www.old.test"))
    inspect.status(stage)
    assert (
        "site     old.test, www.old.test (deploy.toml has shop.test: inv deploy)\n"
        in (printed(stage))
    )
    stage = desk(WELL, record=None)
    inspect.status(stage)
    assert "site     shop.test\n" in printed(stage)


@pytest.mark.parametrize("command", ["", "   "])
def test_no_command_at_all_is_refused(desk, command: str) -> None:
    with pytest.raises(UsageError, match="No command was given"):
        inspect.manage(desk(WELL), command)


@pytest.mark.parametrize("command", ["shell -c 'x", 'a "'])
def test_a_command_whose_quotes_are_not_closed_is_refused(desk, command: str) -> None:
    with pytest.raises(UsageError, match="a quote in it is not closed") as caught:
        inspect.manage(desk(WELL), command)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("json", "shown"),
    [
        (False, f"{EVENT} No cart\n    Traceback (most recent call last):\n    Gone\n"),
        (True, '"traceback": "Traceback (most recent call last):\\nGone"}\n'),
    ],
)
def test_logs_are_for_a_person_unless_json_is_asked_for(
    desk, layout, capsys, json: bool, shown: str
) -> None:
    stage = desk(WELL)
    asked = {"tail": 100, "follow": False, "since": "", "grep": ""}
    command = journal.journal(layout, **asked).text
    line = rf"{EVENT} No cart\nTraceback (most recent call last):\nGone"
    stage.host.script[command] = f"{line}\nanother line\n"
    inspect.logs(stage, **asked, json=json)
    said = capsys.readouterr().out
    assert shown in said
    assert said.splitlines()[-1] == (
        '{"message": "another line"}' if json else "another line"
    )


def test_releases_are_listed_with_what_serves_and_how_it_is(desk) -> None:
    stage = desk(WELL)
    inspect.releases(stage)
    heads, serving, first = printed(stage).splitlines()
    assert heads.split() == [
        *("release", "when", "(UTC)", "who", "commit", "size", "health", "what"),
    ]
    assert serving.startswith(f"→  {OLD}  2026-01-31 07:00:00  ann@desk  c1")
    assert "120.0 MB  healthy" in serving
    assert serving.endswith("deploy, 1 migration")
    assert first.split()[-2:] == ["stopped", "deploy"]


def test_a_first_deploy_tells_how_many_migrations_and_not_which(desk) -> None:
    many = tuple(f"shop.{number:04}" for number in range(21))
    entry = Record(release=OLD, fingerprint="f", migrations=many)
    stage = desk(WELL)
    row = inspect._row(stage, server.look(stage), entry)
    assert row[-1] == "deploy, 21 migrations"


def test_a_narrow_terminal_shows_each_release_in_lines_that_fit(desk) -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    stage = replace(desk(WELL), terminal=Terminal(console))
    inspect.releases(stage)
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed(stage))
    assert text.startswith(f"→ {OLD}  healthy\n  2026-01-31 07:00:00 UTC by ann@desk\n")
    assert "  deploy, 1 migration; commit c1, 120.0 MB\n" in text
    assert max(len(line) for line in text.splitlines()) <= 60


def test_a_log_file_has_the_table_however_wide(desk) -> None:
    stage = replace(
        desk(WELL), terminal=Terminal(Console(file=io.StringIO(), width=60))
    )
    inspect.releases(stage)
    assert len(printed(stage).splitlines()) == 3


def test_a_release_that_should_serve_and_does_not_run_is_said(desk) -> None:
    stage = desk(WELL, containers=())
    inspect.releases(stage)
    assert "not running" in printed(stage).splitlines()[1]
    with pytest.raises(StageError, match="does not run"):
        inspect.status(stage)


def test_a_database_of_the_projects_own_is_said_to_be_in_no_backup(desk) -> None:
    own = Record(release=OLD, at="2026-01-31T07:00:00+00:00", database="postgresql")
    stage = desk(WELL, record=own)
    stage = replace(
        stage,
        config=replace(stage.config, replica=Replica(url="file:///mnt/copy")),
    )
    inspect.status(stage)
    assert "database PostgreSQL, the project's own; in no backup" in printed(stage)
