"""Values on the server: written as Compose reads them, read as they were written."""

import io
import re
import stat
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from stagetools.deploy.commands import environment as commands
from stagetools.deploy.config import StageConfig
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.facts import parse_facts
from stagetools.deploy.host.dry import DryHost, DryTerminal
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps import server
from stagetools.deploy.tasks import environment, relaunch
from stagetools.deploy.tasks.environment import (
    _items,
    line_of,
    names,
    replaced,
    value_of,
)
from stagetools.deploy.tasks.session import Session
from stagetools.errors import CommandFailed, StageError, UsageError
from stagetools.utils import get_expected_system_from_name
from tests.commands.machine import Machine

VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
AWKWARD = 'it\'s $HOME ${X} `id` "two" \\n \\ #no\r\n\tend '


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_compose_reads_what_was_set(value: str) -> None:
    line = line_of("A", Secret(value))
    assert line.count("\n") == 1
    assert as_compose_reads(line.removeprefix('A="').removesuffix('"\n')) == value


def as_compose_reads(inside: str) -> str:
    """The rules of Compose's reader for a double-quoted value. compose-go, dotenv."""
    plain = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
    assert not re.search(r'(?<!\\)(?:\\\\)*[$"]', inside)  # neither ends it nor expands
    return re.sub(r"\\([nrt\"\\$])", lambda found: plain[found[1]], inside)


BY_HAND = """\
# mail
export HOST=mail.test   # no quotes
 PORT = 25
KEY='-----BEGIN-----
B="not a value of its own"
-----END-----'
LONG="one
C=neither" # a remark
colon: 7
A="1"

nothing
A='again'
"""


def test_names_are_found_in_whichever_way_they_were_written() -> None:
    assert names(BY_HAND) == ["HOST", "PORT", "KEY", "LONG", "colon", "A"]
    assert names('SECRET_KEY="a-b_c="\n') == ["SECRET_KEY"]


def test_lines_that_a_person_wrote_stay_as_they_are() -> None:
    assert replaced(BY_HAND, "B", 'B="2"\n') == BY_HAND + 'B="2"\n'
    assert replaced(BY_HAND, "PORT", 'PORT="2"\n') == BY_HAND.replace(
        " PORT = 25\n", 'PORT="2"\n'
    )
    key = BY_HAND[BY_HAND.index("KEY=") : BY_HAND.index("LONG=")]
    assert replaced(BY_HAND, "KEY", "") == BY_HAND.replace(key, "")


def test_of_a_value_that_is_there_twice_one_stays() -> None:
    once = BY_HAND.replace('A="1"\n', 'A="2"\n').replace("A='again'\n", "")
    assert replaced(BY_HAND, "A", 'A="2"\n') == once


def test_a_last_line_without_its_end_is_not_grown_into() -> None:
    assert replaced("# mine\nB=1", "A", 'A="2"\n') == '# mine\nB=1\nA="2"\n'


@given(st.text(st.sampled_from("AB=\"'\\\n #:ex\r"), max_size=40), VALUES)
@settings(max_examples=300, deadline=None)
def test_no_other_line_is_ever_touched(text: str, value: str) -> None:
    line = line_of("A", Secret(value))
    try:
        after = replaced(text, "A", line)
    except StageError:
        assert '"' in text or "'" in text  # one that is not closed
        return
    assert "A" in names(after)
    others = [raw for name, raw in _items(text) if name != "A"]
    left = [raw for name, raw in _items(after) if name != "A"]
    assert "".join(left).rstrip("\n") == "".join(others).rstrip("\n")


# --- the tasks ------------------------------------------------------------------------------

LAYOUT = Layout(get_expected_system_from_name("shop_prod"))
LOOKED = (
    "os=debian\nos_version=13\nos_codename=trixie\nnow=20260131-080000\nnewest=\ncores=2\n"
    "memory_kb=1\ndisk_free_kb=1\ndisk_size_kb=1\nsystemd=yes\ndatabase=\ndata_dir=/d\noverlays=\nuid=1\ngid=1\n"
    "env=5e\nhome_is_roots=yes\ndomains=\nrelease=\nproxy=\nproxy_version=\nauthority=\n"
    "taken_ports=\n"
)
TEXT = '# mine\nSECRET_KEY="s3cret"\nA="1"\n'


class Desk:
    """A stage whose environment file is a real one, and what its terminal showed."""

    def __init__(self, root: Path, monkeypatch) -> None:
        self.output, self.machine = io.StringIO(), Machine(root)
        self.path = self.machine.at(LAYOUT.env_file)
        self.path.parent.mkdir(parents=True)
        self.path.write_text(TEXT)
        self.facts = parse_facts(LOOKED)
        self.prepared = 0
        monkeypatch.setattr(server, "look", lambda *_: self.facts)
        monkeypatch.setattr(server, "ensure_account", self.prepare)
        monkeypatch.setattr(environment, "locked", lambda *_: nullcontext())
        monkeypatch.setattr(Session, "under", lambda stage, _: stage)
        monkeypatch.setattr(relaunch, "launch", self.launch)
        config = StageConfig(stage_name="prod", domains=("a.test",))
        terminal = Terminal(Console(file=self.output, width=200))
        self.session = Session(self.machine, LAYOUT, config, terminal)
        self.served: list[str] = []
        self.refusal: BaseException | None = None

    def prepare(self, *_: object) -> None:
        self.prepared += 1

    def launch(self, *_: object) -> str:
        self.served.append(self.path.read_text())
        if self.refusal:
            raise self.refusal
        self.facts = replace(self.facts, release="R2")
        self.machine.run(commands.approve(LAYOUT))  # as a switch does
        return "R2"

    @property
    def before(self) -> Path:
        return self.path.with_name("env.before")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def test_a_value_is_set_beside_the_others(desk) -> None:
    environment.set_values(desk.session, [f"B={AWKWARD}"])
    assert desk.path.read_bytes().decode() == TEXT + line_of("B", Secret(AWKWARD))
    assert desk.output.getvalue() == "B set on the server.\n"
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    assert [path.name for path in desk.path.parent.iterdir()] == ["env"]


def test_several_values_are_one_change(desk) -> None:
    desk.facts = replace(desk.facts, release="R1")
    environment.set_values(desk.session, ["B=1", "A=2", "C=x y"])
    assert len(desk.served) == 1
    assert names(desk.path.read_text()) == ["SECRET_KEY", "A", "B", "C"]
    assert "B, A, C set on the server; shop_prod serves R2." in desk.output.getvalue()


def test_one_wrong_value_among_several_changes_nothing(desk) -> None:
    for wrong in (["B=1", "ALLOWED_HOSTS=x"], []):
        with pytest.raises(UsageError):
            environment.set_values(desk.session, wrong)
    assert desk.path.read_text() == TEXT


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_a_value_that_was_set_is_read_as_it_was(value: str) -> None:
    text = BY_HAND + line_of("V", Secret(value)) + "END=1\n"
    assert value_of(text, "V") == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOST", "mail.test"), ("PORT", "25"), ("colon", "7"), ("LONG", "one\nC=neither")],
)
def test_a_value_written_by_hand_is_read_as_compose_reads_it(name, value) -> None:
    assert value_of(BY_HAND, name) == value


def test_one_value_is_printed_as_it_is_and_alone(desk, capsys) -> None:
    environment.set_values(desk.session, [f"B={AWKWARD}"])
    environment.show_value(desk.session, "B")
    assert capsys.readouterr().out == f"{AWKWARD}\n"
    with pytest.raises(UsageError, match="C is not set"):
        environment.show_value(desk.session, "C")


def test_a_value_that_is_set_again_is_replaced_in_its_place(desk) -> None:
    environment.set_values(desk.session, ["SECRET_KEY=2"])
    assert desk.path.read_text() == '# mine\nSECRET_KEY="2"\nA="1"\n'


@pytest.mark.parametrize("value", ["", "b=c"])
def test_a_value_may_be_empty_or_hold_the_sign(desk, value: str) -> None:
    environment.set_values(desk.session, [f"A={value}"])
    assert f'A="{value}"\n' in desk.path.read_text()


def test_a_name_alone_reads_the_value_from_standard_input(desk, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    environment.set_values(desk.session, ["A"])
    assert 'A="from a pipe"\n' in desk.path.read_text()


def test_a_value_is_removed(desk) -> None:
    environment.unset(desk.session, "A")
    assert desk.path.read_text() == '# mine\nSECRET_KEY="s3cret"\n'


def test_the_release_that_serves_gets_it(desk) -> None:
    desk.facts = replace(desk.facts, release="R1")
    environment.set_values(desk.session, ["A=2"])
    assert desk.served == [TEXT.replace('"1"', '"2"')]
    assert desk.output.getvalue() == "A set on the server; shop_prod serves R2.\n"
    assert not desk.before.exists()


@pytest.mark.parametrize("refusal", [StageError("No."), KeyboardInterrupt()])
def test_a_value_that_the_release_refuses_is_not_kept(desk, refusal) -> None:
    desk.facts = replace(desk.facts, release="R1")
    desk.refusal = refusal
    with pytest.raises(type(refusal)):
        environment.set_values(desk.session, ["A=bad"])
    assert desk.served == [TEXT.replace('"1"', '"bad"')]
    assert desk.path.read_text() == TEXT
    assert not desk.before.exists()
    if isinstance(refusal, StageError):
        assert refusal.untouched == "The environment file is as it was before."
    desk.refusal = None
    environment.set_values(desk.session, ["B=2"])
    assert desk.served[-1] == TEXT + 'B="2"\n'


def test_a_value_that_serves_already_is_kept_when_something_fails_later(desk) -> None:
    desk.facts = replace(desk.facts, release="R1")

    def fail_after_switch(*_: object) -> str:
        desk.facts = replace(desk.facts, release="R2")
        raise StageError("Drain: no.")

    desk.launch = fail_after_switch
    relaunch.launch = fail_after_switch
    with pytest.raises(StageError) as caught:
        environment.set_values(desk.session, ["A=2"])
    assert 'A="2"' in desk.path.read_text()
    assert "the new release serves with it" in caught.value.untouched


def test_while_nothing_is_approved_the_one_before_is_kept_on_the_server(desk) -> None:
    """Whoever finds it puts it back: a client that is killed here undoes nothing."""
    desk.facts = replace(desk.facts, release="R1")
    kept: list[str] = []
    desk.refusal = StageError("No.")
    seen = desk.launch

    def launch(*words: object) -> str:
        kept.append(desk.before.read_text())
        return seen(*words)

    relaunch.launch = launch
    with pytest.raises(StageError):
        environment.set_values(desk.session, ["A=2"])
    assert kept == [TEXT]


def test_half_a_file_never_takes_its_place(desk) -> None:
    with pytest.raises(CommandFailed):
        desk.machine.run(commands.write(LAYOUT, 9), stdin=b"A=1\n")
    assert desk.path.read_text() == TEXT


def test_no_value_is_shown_or_is_an_argument(desk, monkeypatch) -> None:
    ran: list[str] = []
    run = desk.machine.run

    def listen(command, **options):
        ran.append(command.text)
        return run(command, **options)

    monkeypatch.setattr(desk.machine, "run", listen)
    environment.list_names(desk.session)
    environment.set_values(desk.session, ["B=hush"])
    environment.unset(desk.session, "A")
    assert desk.output.getvalue().startswith("SECRET_KEY=***\nA=***\n")
    assert ran
    for text in [desk.output.getvalue(), *ran]:
        assert "s3cret" not in text
        assert "hush" not in text


@pytest.mark.parametrize(
    "assignment", ["", "=x", "1A=x", "A B=x", "A-B=x", "A\n=x", "größe=x", "export A=1"]
)
def test_what_is_no_assignment_is_refused(desk, assignment: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        environment.set_values(desk.session, [assignment])
    assert desk.path.read_text() == TEXT


@pytest.mark.parametrize(
    "name", ["STAGETOOLS_SYSTEM", "STAGETOOLS_BIND", "ALLOWED_HOSTS", "WEB_CONCURRENCY"]
)
def test_what_a_deploy_works_out_is_refused(desk, name: str) -> None:
    with pytest.raises(UsageError, match="is set by each deploy"):
        environment.set_values(desk.session, [f"{name}=x"])


@pytest.mark.parametrize("value", ["a\0b", "caf\udce9"])
def test_a_value_that_no_file_can_hold_is_refused(desk, value: str) -> None:
    with pytest.raises(UsageError, match="The value of A"):
        environment.set_values(desk.session, [f"A={value}"])
    assert desk.path.read_text() == TEXT


def test_a_file_that_is_no_text_is_not_written_anew(desk) -> None:
    desk.path.write_bytes(b"A=caf\xe9\n")
    with pytest.raises(StageError, match="not UTF-8"):
        environment.set_values(desk.session, ["A=2"])
    assert desk.path.read_bytes() == b"A=caf\xe9\n"


def test_a_name_that_is_not_set_is_told_with_those_that_are(desk) -> None:
    with pytest.raises(UsageError, match="B is not set") as caught:
        environment.unset(desk.session, "B")
    assert caught.value.remedy == "These are set: SECRET_KEY, A."


def test_a_stage_that_is_not_there_yet_is_told_how_to_be(desk) -> None:
    desk.facts = replace(desk.facts, env="")
    for refused in (
        lambda: environment.list_names(desk.session),
        lambda: environment.unset(desk.session, "A"),
    ):
        with pytest.raises(UsageError, match="is not on") as caught:
            refused()
        assert "inv deploy --stage prod" in caught.value.remedy


def test_the_first_value_of_a_stage_prepares_its_account(desk) -> None:
    desk.facts = replace(desk.facts, env="")
    environment.set_values(desk.session, ["B=2"])
    assert desk.prepared == 1
    assert desk.path.read_text() == TEXT + 'B="2"\n'


def test_a_dry_run_before_the_first_deploy_prints_what_it_would_do(
    desk, monkeypatch
) -> None:
    """Nothing is there to be read."""
    desk.facts = replace(desk.facts, env="")
    desk.path.unlink()
    terminal = DryTerminal(Console(file=desk.output, width=200), verbose=True)
    dry = DryHost(desk.machine, terminal, needs_sudo=False)
    stage = replace(desk.session, host=dry, terminal=terminal)
    environment.set_values(stage, ["A=hush"])
    assert desk.prepared == 1
    assert "changes the environment file: A set\n" in desk.output.getvalue()
    assert "/home/shop_prod/env" in desk.output.getvalue()
    assert "hush" not in desk.output.getvalue()
    assert not desk.path.exists()
