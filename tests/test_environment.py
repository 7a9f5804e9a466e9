"""Values on the server: written as Compose reads them, read as they were written."""

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from stagetools.deploy import environment
from stagetools.deploy.commands import environment as commands
from stagetools.deploy.commands import server
from stagetools.deploy.config import StageConfig
from stagetools.deploy.environment import parse, render
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Secret
from stagetools.deploy.stage import Stage
from stagetools.deploy.terminal import Terminal
from stagetools.errors import UsageError
from stagetools.utils import get_expected_system_from_name
from tests.steps.scripted import ScriptedHost

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(str.isascii)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
AWKWARD = 'it\'s $HOME ${X} `id` "two" \\n \\ #no\r\n\tend '


@given(st.dictionaries(NAMES, VALUES))
@settings(max_examples=100, deadline=None)
def test_values_are_read_as_they_were_written(values: dict[str, str]) -> None:
    secrets = {name: Secret(value) for name, value in values.items()}
    assert parse(render(secrets)) == secrets


@given(st.dictionaries(NAMES, VALUES))
@settings(max_examples=100, deadline=None)
def test_each_value_is_one_line(values: dict[str, str]) -> None:
    text = render({name: Secret(value) for name, value in values.items()})
    assert text.count("\n") == len(values)
    assert re.fullmatch(r'(\w+="[^\n]*"\n)*', text)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_compose_reads_the_same(value: str) -> None:
    text = render({"A": Secret(value)})
    assert as_compose_reads(text.removeprefix('A="').removesuffix('"\n')) == value


def as_compose_reads(inside: str) -> str:
    """The rules of Compose's reader for a double-quoted value. compose-go, dotenv."""
    plain = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
    assert not re.search(r'(?<!\\)(?:\\\\)*[$"]', inside)  # neither ends it nor expands
    return re.sub(r"\\([nrt\"\\$])", lambda found: plain[found[1]], inside)


def test_the_file_that_the_first_deploy_makes_is_read() -> None:
    assert parse('SECRET_KEY="a-b_c="\n') == {"SECRET_KEY": Secret("a-b_c=")}


def test_lines_that_nobody_here_wrote_are_left_out() -> None:
    assert parse('# a comment\n\nA="1"\nexport B="2"\nC=3\n') == {"A": Secret("1")}


# --- the tasks ------------------------------------------------------------------------------

LAYOUT = Layout(get_expected_system_from_name("shop_prod"))
LOOKED = (
    "os=debian\nos_version=13\nos_codename=trixie\nnow=20260131-080000\nnewest=\ncores=2\n"
    "memory_kb=1\ndisk_free_kb=1\ndisk_size_kb=1\nsystemd=yes\ndatabase=\nuid=1\ngid=1\n"
    "env={env}\ndomains=\nrelease=\nproxy=\nproxy_version=\nauthority=\ntaken_ports=\n"
)


class Desk:
    """A stage that nothing serves yet, and what its terminal showed."""

    def __init__(
        self, text: str = 'SECRET_KEY="s3cret"\nA="1"\n', env: str = "5e"
    ) -> None:
        self.output = io.StringIO()
        self.host = ScriptedHost({
            server.look(LAYOUT).text: LOOKED.format(env=env),
            commands.read(LAYOUT).text: text,
            commands.write(LAYOUT).text: "",
        })  # fmt: skip
        config = StageConfig(stage_name="prod", domains=("a.test",))
        terminal = Terminal(Console(file=self.output, width=200))
        self.stage = Stage(self.host, LAYOUT, config, terminal)

    @property
    def written(self) -> dict[str, Secret]:
        return parse(self.host.sent[commands.write(LAYOUT).text].decode())


def test_a_value_is_set_beside_the_others() -> None:
    desk = Desk()
    environment.set_value(desk.stage, f"B={AWKWARD}")
    assert desk.written == {
        "SECRET_KEY": Secret("s3cret"),
        "A": Secret("1"),
        "B": Secret(AWKWARD),
    }


def test_a_value_that_is_set_again_is_replaced_in_its_place() -> None:
    desk = Desk()
    environment.set_value(desk.stage, "A=2")
    assert list(desk.written.items())[1] == ("A", Secret("2"))


def test_a_value_may_be_empty_or_hold_the_sign() -> None:
    desk = Desk()
    environment.set_value(desk.stage, "A=")
    assert desk.written["A"] == Secret("")
    environment.set_value(desk.stage, "A=b=c")
    assert desk.written["A"] == Secret("b=c")


def test_a_name_alone_reads_the_value_from_standard_input(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    desk = Desk()
    environment.set_value(desk.stage, "A")
    assert desk.written["A"] == Secret("from a pipe")


def test_a_value_is_removed() -> None:
    desk = Desk()
    environment.unset(desk.stage, "A")
    assert desk.written == {"SECRET_KEY": Secret("s3cret")}


def test_no_value_is_shown_or_is_an_argument() -> None:
    desk = Desk()
    environment.list_names(desk.stage)
    environment.set_value(desk.stage, "B=hush")
    environment.unset(desk.stage, "A")
    assert desk.output.getvalue().startswith("SECRET_KEY=***\nA=***\n")
    for text in [desk.output.getvalue(), *desk.host.ran]:
        assert "s3cret" not in text
        assert "hush" not in text


@pytest.mark.parametrize(
    "assignment", ["", "=x", "1A=x", "A B=x", "A-B=x", "A\n=x", "größe=x", "export A=1"]
)
def test_what_is_no_assignment_is_refused(assignment: str) -> None:
    desk = Desk()
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        environment.set_value(desk.stage, assignment)
    assert desk.host.ran == []


@pytest.mark.parametrize(
    "name", ["STAGETOOLS_SYSTEM", "STAGETOOLS_BIND", "ALLOWED_HOSTS", "WEB_CONCURRENCY"]
)
def test_what_a_deploy_works_out_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is worked out at each deploy"):
        environment.set_value(Desk().stage, f"{name}=x")


@pytest.mark.parametrize("value", ["a\0b", "caf\udce9"])
def test_a_value_that_no_file_can_hold_is_refused(value: str) -> None:
    desk = Desk()
    with pytest.raises(UsageError, match="The value of A"):
        environment.set_value(desk.stage, f"A={value}")
    assert desk.host.ran == []


def test_a_name_that_is_not_set_is_told_with_those_that_are() -> None:
    desk = Desk()
    with pytest.raises(UsageError, match="B is not set") as caught:
        environment.unset(desk.stage, "B")
    assert caught.value.remedy == "Set are SECRET_KEY, A."


def test_a_stage_that_is_not_there_yet_is_told_how_to_be() -> None:
    desk = Desk(env="")
    with pytest.raises(UsageError, match="is not on") as caught:
        environment.list_names(replace(desk.stage))
    assert "inv deploy --stage prod" in caught.value.remedy
