"""Whatever a value holds, it reaches the server as one word, and never as code."""

import inspect
import pkgutil
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagetools.deploy import commands as package
from stagetools.deploy.commands import compose, database, logs, server
from stagetools.deploy.facts import Record, parse_facts
from stagetools.deploy.hashed import Sent
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, Secret, as_root, script, sh
from stagetools.utils import get_expected_system_from_name
from tests.commands.machine import Machine
from tests.steps.scripted import builders

AWKWARD = 'it\'s; $HOME `id`\n"two" *'
LAYOUT = Layout(get_expected_system_from_name("shop_prod"))
AWKWARD_LAYOUT = Layout(replace(LAYOUT.system, base_dir=Path(f"/srv/{AWKWARD}")))
BUILDERS = [builder for _, _, builder in builders()]


def built(builder: Callable[..., Command], text: str) -> Command:
    """Its command, with `text` wherever it takes a string."""
    kinds: dict[Any, Any] = {
        Layout: AWKWARD_LAYOUT,
        str: text,
        int: 7,
        float: 1.5,
        bool: True,
        PurePosixPath: PurePosixPath(f"/srv/{text}"),
        Sent: Sent("0" * 64, text, text),
    }
    positional: list[Any] = []
    named = {}
    for name, parameter in inspect.signature(builder).parameters.items():
        value = kinds.get(parameter.annotation, [text])
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.append(value[0] if isinstance(value, list) else value)
        else:
            positional.append(value)
    return builder(*positional, **named)


def words_of(builder: Callable[..., Command], text: str) -> list[str]:
    return shlex.split(built(builder, text).text)


@pytest.mark.parametrize(
    "builder", BUILDERS, ids=lambda b: f"{b.__module__[27:]}.{b.__name__}"
)
def test_a_builders_values_stay_words_of_their_own(builder) -> None:
    words, plain = words_of(builder, AWKWARD), words_of(builder, "x")
    assert len(words) == len(plain)
    # a script's text is a constant: the same whatever the values are
    if words[1] == "-euc":
        assert words[2] == plain[2]
    strings = {p.annotation for p in inspect.signature(builder).parameters.values()}
    if str in strings:
        assert any(AWKWARD in word for word in words)


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_command_bears_the_name_of_its_builder(builder) -> None:
    name = f"{builder.__module__.partition('.commands.')[2]}.{builder.__name__}"
    wanted = "database.x" if builder is database.run else name
    assert built(builder, "x").name == wanted


def test_a_rehearsal_is_named_as_one() -> None:
    names = [
        database.run(LAYOUT, "R1", "migrate", overlay=overlay).name
        for overlay in ("task", "rehearse")
    ]
    assert names == ["database.migrate", "rehearsal.migrate"]


def test_the_builders_of_every_module_are_tested() -> None:
    modules = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    there = {module.name for module in modules if not module.ispkg}
    assert {builder.__module__ for builder in BUILDERS} == there


def test_a_secret_is_refused_as_an_argument() -> None:
    with pytest.raises(TypeError, match="on stdin, not as an argument"):
        sh("login", Secret("hunter2"))
    with pytest.raises(TypeError):
        script("true", Secret("hunter2"))


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]))
    )
)
@settings(max_examples=10, deadline=None)
def test_a_script_meets_its_values_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    machine = Machine(tmp_path_factory.getbasetemp())
    told = machine.attempt(
        script('for value; do printf "%s\\0" "$value"; done', *values)
    )
    assert told.stdout == "".join(f"{value}\0" for value in values).encode()


def test_a_script_stops_at_the_first_command_that_fails(tmp_path) -> None:
    done = Machine(tmp_path).attempt(script("false; echo never"))
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_script_stops_at_a_value_that_nobody_gave(tmp_path) -> None:
    done = Machine(tmp_path).attempt(script('echo "$2"', "one"))
    assert done.returncode != 0


def test_an_account_that_is_not_root_asks_sudo_without_a_password() -> None:
    words = shlex.split(as_root(sh("cat", AWKWARD)).text)
    assert words == ["sudo", "-n", "--", "cat", AWKWARD]


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("1h", "--since=-1h"),
        ("30min", "--since=-30min"),
        ("2026-01-31 08:00", "--since=2026-01-31 08:00"),
        ("yesterday", "--since=yesterday"),
        ("-2h", "--since=-2h"),
    ],
)
def test_logs_since_a_span_means_that_long_ago(said: str, given: str) -> None:
    command = logs.journal(LAYOUT, tail=5, follow=False, since=said, grep="")
    assert given in shlex.split(command.text)


def test_logs_ask_for_no_more_than_was_said() -> None:
    command = logs.journal(LAYOUT, tail=5, follow=True, since="", grep="")
    words = shlex.split(command.text)
    assert words[0] == "journalctl"
    assert "CONTAINER_TAG=shop_prod" in words
    assert not [word for word in words if word.startswith("--grep")]
    assert "--follow" in words
    assert "--lines=5" in words
    assert not [word for word in words if word.startswith("--since")]


JOURNAL = """
case " $* " in
  *" --sync "*|*" --lines=0 "*) ;;
  *" --follow "*) echo "later" ;;
  *) for line in newest middle oldest; do echo "$line"; done ;;
esac
"""


@pytest.mark.parametrize("follow", [False, True])
def test_a_plain_word_is_looked_for_and_the_oldest_line_comes_first(
    tmp_path, follow: bool
) -> None:
    """journalctl itself takes a regular expression, and begins with the newest line."""
    machine = Machine(tmp_path)
    machine.program("journalctl", JOURNAL)
    command = logs.journal(LAYOUT, tail=3, follow=follow, since="1h", grep="a.[b")
    said = machine.run(command).split()
    assert said == ["oldest", "middle", "newest", *(["later"] if follow else [])]
    asked = [line for line in machine.said if "--grep" in line]
    assert len(asked) == 1 + follow
    for line in asked:
        assert r"--grep=a\.\[b --case-sensitive=false" in line
    assert "--lines=3 --since=-1h --until=@" in asked[0]
    assert "--since=-1h" not in "".join(asked[1:])


def test_a_record_with_a_backslash_is_printed_as_it_was_written(tmp_path) -> None:
    """A dash's echo makes a line break of `\\n`, and the record is none any more."""
    machine = Machine(tmp_path)
    record = Record(release="R1", who="DOMAIN\\nadja@pc")
    for path, text in (
        (LAYOUT.record("R1"), record.to_json()),
        (LAYOUT.env_file, "A=1"),
    ):
        machine.at(path).parent.mkdir(parents=True, exist_ok=True)
        machine.at(path).write_text(text)
    machine.at(LAYOUT.site_dir).mkdir(parents=True)
    machine.at(LAYOUT.current).symlink_to("run/R1.sock")
    assert parse_facts(machine.run(server.look(LAYOUT))).record == record


def test_the_domains_of_all_sites_are_seen(tmp_path) -> None:
    machine = Machine(tmp_path)
    hosts = machine.at(LAYOUT.site_dir.parent.parent / "hosts")
    hosts.mkdir(parents=True)
    for domain, name in {"a.test": "shop_prod", "b.test": "blog_prod"}.items():
        (hosts / domain).symlink_to(f"../sites/{name}")
    facts = parse_facts(machine.run(server.look(LAYOUT)))
    assert sorted(facts.claimed) == [("a.test", "shop_prod"), ("b.test", "blog_prod")]


def test_no_command_of_manage_begins_while_visitors_wait(tmp_path) -> None:
    machine = Machine(tmp_path)
    machine.program("docker", "")
    command = compose.manage(LAYOUT, "R1", "name", ["migrate"], tty=False)
    assert machine.attempt(command).returncode == 0
    hold = machine.at(f"{LAYOUT.fence}.hold")
    hold.parent.mkdir(parents=True)
    hold.touch()
    refused = machine.attempt(command)
    assert (refused.returncode, len(machine.said)) == (75, 1)
    assert b"shop_prod is being changed right now" in refused.stderr


def test_compose_is_told_the_releases_own_files() -> None:
    words = shlex.split(compose.build(LAYOUT, "R1").text)
    assert words[:2] == ["docker", "compose"]
    assert "--env-file /home/shop_prod/releases/R1.env" in " ".join(words)
    assert "--project-directory /home/shop_prod/releases/R1 " in " ".join(words)


def test_a_shell_in_the_container_has_a_terminal_only_where_one_is() -> None:
    assert "--tty" not in shlex.split(compose.run_inside("c1", ["sh"]).text)
    assert "--tty" in shlex.split(compose.run_inside("c1", ["sh"], tty=True).text)
