"""Words as people type them, and the options that Invoke reads in their place."""

from types import SimpleNamespace

import pytest

from stagetools.deploy.console.typed import as_options, take

TASKS = ("deploy", "manage", "restart", "test", "env.set")


@pytest.mark.parametrize(
    ("typed", "after", "options"),
    [
        ("deploy --yes", "", "deploy --yes"),
        ("manage", "", "manage"),
        ("manage check", "", "manage --command check"),
        ("manage showmigrations shop", "", "manage --command|showmigrations shop"),
        ("manage migrate --plan -v 2", "", "manage --command|migrate --plan -v 2"),
        ("manage --stage qual check", "", "manage --stage qual --command check"),
        ("manage check --stage=qual", "", "manage --stage=qual --command check"),
        ("manage check -s qual", "", "manage -s qual --command check"),
        ("manage --help", "", "manage --help"),
        ("manage migrate --help", "", "manage --command|migrate --help"),
        ("manage", "migrate --plan", "manage --command|migrate --plan"),
        ("manage -s qual", "x -s y", "manage -s qual --command|x -s y"),
        ("manage help deploy", "", "manage --command|help deploy"),
        ("env.set A=1", "", "env.set --value A=1"),
        ("env.set A=1 B=2", "", "env.set --value A=1 --value B=2"),
        ("env.set -s q A=1 --dry-run", "", "env.set -s q --value A=1 --dry-run"),
        ("env.set --help", "", "env.set --help"),
        ("env.set A=1 restart -s q", "", "env.set --value A=1 restart -s q"),
        ("test env.set A=1", "", "test env.set --value A=1"),
        ("env.set", "A=1", "env.set --value A=1"),
        ("restore latest --yes", "", "restore --what latest --yes"),
        ("restore -s q --wait 5 a.db", "", "restore -s q --wait 5 --what a.db"),
        ("restore --at now", "", "restore --at now"),
        ("backup --download here 5c14", "", "backup --download here --name 5c14"),
        ("backup -s q", "", "backup -s q"),
        ("backup test", "", "backup test"),
    ],
)
def test_words_become_options(typed: str, after: str, options: str) -> None:
    *first, last = options.split("|")
    wanted = [*first[0].split(), last] if first else last.split()
    assert as_options(typed.split(), after.split(), TASKS) == wanted


def test_a_command_in_one_word_is_left_to_be_parted_later() -> None:
    """`inv manage 'shell -c "print(1)"'`: scripts rely on it."""
    typed = """shell -c 'print("a b")'"""
    assert as_options(["manage", typed], [], TASKS)[-1] == typed


def test_words_with_blanks_stay_words() -> None:
    typed = ["manage", "shell", "-c", "print('a b')"]
    command = as_options(typed, [], TASKS)[-1]
    assert command == """shell -c 'print('"'"'a b'"'"')'"""
    assert as_options(["env.set", "A=x y"], [], TASKS)[-1] == "A=x y"


def test_invoke_reads_what_was_put_in_place() -> None:
    core = SimpleNamespace(unparsed=["manage"])
    argv = ["inv", "manage", "--", "check", "--deploy"]
    take(SimpleNamespace(core=core, argv=argv), TASKS)
    assert core.unparsed == ["manage", "--command", "check --deploy"]


def test_whoever_imports_the_tasks_without_inv_is_left_alone() -> None:
    take(SimpleNamespace(), TASKS)
