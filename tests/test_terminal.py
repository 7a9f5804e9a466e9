"""What a log file sees, how errors are told, and when a question is asked."""

import ast
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from stagetools.deploy.console import terminal as terminal_module
from stagetools.deploy.console.failures import (
    for_stage,
    reports_errors,
    uninterrupted,
)
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.console.typed import number
from stagetools.deploy.host.dry import WOULD, DryHost, DryTerminal
from stagetools.deploy.outcome import Outcome, changed, unchanged
from stagetools.deploy.shell import Command, looks, prints, sh
from stagetools.deploy.tasks.on_copy import OnCopy
from stagetools.deploy.tasks.rollback import Rollback
from stagetools.errors import CommandFailed, LockHeld, StageError, UsageError
from tests.steps.scripted import ScriptedHost


class Person(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(output) -> Terminal:
    return Terminal(Console(file=output, width=40))


@pytest.fixture
def desk(output, monkeypatch) -> Terminal:
    """A terminal with a person before it, who has typed ahead."""
    monkeypatch.setattr(sys, "stdin", Person("yes\n"))
    return Terminal(Console(file=output, width=100, force_terminal=True))


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A task that ends lets no further Ctrl-C in; the other tests do."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def plain(output: io.StringIO) -> str:
    """What a person reads, without colours."""
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", output.getvalue())


def test_without_a_terminal_each_step_is_one_plain_line(log, output) -> None:
    with log.step("Build") as step:
        step.progress(1, 2)
        step.end(changed("image shop_prod:R1"))
    assert output.getvalue() == "✓ Build: image shop_prod:R1 (0.0 s)\n"


def test_a_step_that_found_its_work_done_says_so_by_its_mark(log, output) -> None:
    with log.step("Docker") as step:
        step.end(unchanged("Docker 28.0 is there"))
    assert output.getvalue() == "= Docker: Docker 28.0 is there (0.0 s)\n"


def test_a_step_that_comes_again_is_not_ticked(log, output) -> None:
    with log.step("Start") as step:
        step.end(Outcome(False, "needs 1 migration first", comes_again=True))
    assert output.getvalue() == "· Start: needs 1 migration first (0.0 s)\n"


def test_a_log_file_has_every_line_of_a_command_whole(log, output) -> None:
    line = "[bold] is no markup here, and this is longer than forty columns [/bold] :smile:"
    with log.step("Build") as step:
        for _ in range(9):
            step.line(line)
    assert output.getvalue().splitlines()[:9] == [f"  | {line}"] * 9


def test_a_log_file_has_no_escapes(log, output) -> None:
    log.head("shop_prod → https://shop.test")
    log.conclude("Done.")
    with log.step("Build"):
        pass
    assert "\x1b" not in output.getvalue()


HOSTILE = "\x1b]52;c;cm0gLXJm\x07a\x1b[2Jb\x1b]0;title\x1b\\c\x9b1md\re\x07"


def test_what_a_site_wrote_gives_a_terminal_no_orders(desk, output, capsys) -> None:
    """Neither its lines while it starts nor those that follow an error."""
    with desk.step("Start") as step:
        step.line(HOSTILE)
        step.outcome = HOSTILE
    error = StageError("Start: it ended.")
    error.__cause__ = CommandFailed("", status=1, output=HOSTILE)
    with pytest.raises(SystemExit):
        reports_errors(lambda: (_ for _ in ()).throw(error))()
    desk.say(HOSTILE)
    for said in (output.getvalue(), capsys.readouterr().err):
        assert "abc" in said
        assert not set("\x07\x9b") & set(said)
        assert "\x1b]" not in said
        assert "\x1b[2J" not in said


def test_a_step_that_fails_is_marked_and_the_error_goes_on(log, output) -> None:
    with pytest.raises(StageError), log.step("Build"):
        raise StageError("no")
    assert output.getvalue().startswith("✗ Build: failed (")


def test_ctrl_c_marks_the_step_too(log, output) -> None:
    with pytest.raises(KeyboardInterrupt), log.step("Build"):
        raise KeyboardInterrupt
    assert output.getvalue().startswith("✗ Build")


def test_a_person_sees_one_line_a_step_when_it_is_over(desk, output) -> None:
    with desk.step("Build") as step:
        step.line("#1 loading")
        step.progress(1, 2)
        step.end(changed("image [built]"))
    last = plain(output).rstrip().splitlines()[-1]
    assert "Build" in last
    assert "image [built]" in last
    assert "#1 loading" not in last


# --- questions ------------------------------------------------------------------------------


def test_without_a_terminal_a_question_is_an_error_and_never_waits(log) -> None:
    with pytest.raises(StageError, match="Go on") as caught:
        log.agree("Go on?")
    assert caught.value.exit_code == 1
    assert "--yes" in caught.value.remedy
    assert log.ask("Which?", "default") is None
    assert not log.confirm("Sure?")


def test_yes_answers_every_question_and_says_so(output) -> None:
    log = Terminal(Console(file=output), yes=True)
    log.agree("Go on?")
    assert output.getvalue() == "Go on? Yes, says --yes.\n"


@pytest.mark.parametrize("typed", ["y", "yes", "YES", " Yes "])
def test_a_person_may_agree(desk, monkeypatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", Person(f"{typed}\n"))
    desk.agree("Go on?")


@pytest.mark.parametrize("typed", ["", "n", "no", "never", "yess"])
def test_anything_but_yes_is_no(desk, monkeypatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", Person(f"{typed}\n"))
    with pytest.raises(StageError, match="as you said") as caught:
        desk.agree("Go on?")
    assert caught.value.untouched


def test_a_default_is_shown_and_taken(desk, output, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", Person("\n"))
    assert desk.ask("Which [stage]?", "prod") == "prod"
    assert "Which [stage]? [prod]" in plain(output)


def test_a_question_in_the_midst_of_a_step_is_asked(desk, output) -> None:
    with desk.step("Rehearse"):
        desk.agree("Go on?")
    assert "Go on? (yes/no)" in plain(output)


def test_a_secret_comes_from_standard_input_without_a_terminal(
    log, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hush \n"))
    assert log.ask_secret("KEY") == "hush "


def test_ctrl_d_is_no_answer(desk, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", Person(""))
    assert desk.ask("Which?", "default") is None
    assert not desk.confirm("Sure?")


def test_a_secret_that_nobody_gives_is_not_an_empty_one(log, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="No value was given for KEY"):
        log.ask_secret("KEY")


# --- tables ----------------------------------------------------------------------------------

ROWS = [("a1", "[bold]", "山田"), ("b22", "x", "")]


def told(row: str, *more: str) -> str:
    return f"{row}: {len(more)} more"


def test_a_table_has_its_columns_below_each_other(log, output) -> None:
    """Also where a name is wide, or looks like markup."""
    log.table(("id", "what", "who"), ROWS, told)
    assert output.getvalue().splitlines() == [
        "id   what    who",
        "a1   [bold]  山田",
        "b22  x",
    ]


@pytest.mark.parametrize(("live", "lines"), [(False, 3), (True, 2)])
def test_only_a_person_s_narrow_terminal_has_a_table_in_lines(
    output, live: bool, lines: int
) -> None:
    console = Console(file=output, width=12, force_terminal=live)
    Terminal(console).table(("id", "what", "who"), ROWS, told)
    said = plain(output).splitlines()
    assert len(said) == lines
    assert (said[0] == "a1: 2 more") is live


# --- errors ---------------------------------------------------------------------------------


def ends(error: BaseException, capsys) -> tuple[int, str]:
    @reports_errors
    def task() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        task()
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return caught.value.code, err


@pytest.mark.parametrize(
    ("kind", "status"), [(StageError, 1), (LockHeld, 1), (UsageError, 2)]
)
def test_an_error_is_told_in_its_three_parts(capsys, kind, status: int) -> None:
    error = kind("It [failed].", untouched="That stays.", remedy="Do this: [x].")
    assert ends(error, capsys) == (status, "It [failed].\nThat stays.\nDo this: [x].\n")


@pytest.mark.parametrize(
    ("words", "for_qual"),
    [
        ("inv status says what.", "inv status --stage qual says what."),
        ("Type `inv deploy --restore`.", "Type `inv deploy --stage qual --restore`."),
        ("X=lost inv deploy.", "X=lost inv deploy --stage qual."),
        ("inv env.set KEY", "inv env.set --stage qual KEY"),
        ("inv remove --stage qual --name q", "inv remove --stage qual --name q"),
        ("inv backup --key --stage qual .", "inv backup --key --stage qual ."),
        ("inv backup; inv logs --stage qual x", "inv backup --stage qual; inv logs --stage qual x"),
        ("inv clone --from prod --to qual", "inv clone --from prod --to qual"),
        ("inv check, inv test", "inv check, inv test"),
    ],
)  # fmt: skip
def test_what_is_to_be_typed_is_for_the_stage_that_it_is_about(
    capsys, words: str, for_qual: str
) -> None:
    """Typed as it stands it would be done to prod."""
    assert for_stage(words, "qual") == for_qual
    assert for_stage(words, "prod") == words

    @reports_errors
    def task(stage: str) -> None:
        raise StageError(words, untouched=words, remedy=words)

    with pytest.raises(SystemExit):
        task(stage="qual")
    assert capsys.readouterr().err == f"{for_qual}\n" * 3


def test_parts_that_are_not_there_leave_no_line(capsys) -> None:
    assert ends(StageError("It failed."), capsys) == (1, "It failed.\n")


def test_the_servers_own_words_follow(capsys) -> None:
    error = StageError("It failed.", remedy="Read on.")
    error.__cause__ = CommandFailed("x", status=1, output="line 1\n[line] 2")
    assert ends(error, capsys) == (1, "It failed.\nRead on.\nline 1\n[line] 2\n")


def test_a_command_that_fails_unforeseen_is_told_too(capsys) -> None:
    """By the name under which a dry run has it as well."""
    error = CommandFailed(
        "root@h: exit status 7", status=7, output="no space", command="data.copy"
    )
    error.untouched = (
        "R1 goes on serving."  # which the change knows that it was part of
    )
    status, said = ends(error, capsys)
    assert (status, said.splitlines()) == (1, [
        "A command on the server ended with exit status 7.",
        "R1 goes on serving.",
        "Read its last lines below, then run the same command again.",
        "The command was data.copy.",
        "no space",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("status", "own", "words"),
    [(7, "no space", ["ended with exit status 7.", "Read its last lines below, then"]),
     (-1, "", ["ended by a signal.", "It printed nothing: run the same command again."])],
)  # fmt: skip
def test_a_step_gives_its_name_to_a_command_that_fails(
    log, capsys, status: int, own: str, words: list[str]
) -> None:
    failed = CommandFailed("root@h: exit status", status=status, output=own)
    with pytest.raises(StageError) as caught, log.step("Prune"):
        raise failed
    assert caught.value.what.startswith("Prune: a command on the server ended")
    _, said = ends(caught.value, capsys)
    for word in [*words, own]:
        assert word in said


def test_a_step_that_has_words_of_its_own_keeps_them(log) -> None:
    error = StageError("Build: no.")
    with pytest.raises(StageError) as caught, log.step("Build"):
        raise error
    assert caught.value is error


def test_what_nobody_foresaw_ends_in_words_too(capsys, monkeypatch) -> None:
    monkeypatch.delenv("STAGETOOLS_TRACEBACK", raising=False)
    status, said = ends(RuntimeError("no such thing"), capsys)
    assert status == 1
    assert said.startswith("RuntimeError: no such thing.\n")
    assert "STAGETOOLS_TRACEBACK=1" in said


def test_whoever_looks_for_a_mistake_may_have_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("STAGETOOLS_TRACEBACK", "1")

    @reports_errors
    def task() -> None:
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError):
        task()


def test_ctrl_c_ends_in_words(capsys) -> None:
    status, said = ends(KeyboardInterrupt(), capsys)
    assert status == 130
    assert said.startswith("Interrupted.")


def test_ctrl_c_says_what_was_found_out_meanwhile(capsys) -> None:
    _, said = ends(KeyboardInterrupt("R1 goes on serving."), capsys)
    assert said == "Interrupted. R1 goes on serving.\n"


def test_a_second_ctrl_c_breaks_into_no_undoing() -> None:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_a_reader_who_goes_ends_no_task_in_its_midst() -> None:
    """`inv deploy | head`: what was begun goes on, unseen, and without a complaint."""
    code = """
import sys, time
from stagetools.deploy.console.failures import reports_errors
from stagetools.deploy.console.terminal import Terminal
@reports_errors
def task():
    terminal = Terminal()
    for number in range(40):
        with terminal.step(str(number)):
            time.sleep(0.005)
    sys.stderr.write("done")
task()
"""
    words = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "done")
    assert done.stdout.startswith("✓ 0")


@pytest.mark.parametrize("text", ["x", "", "-1", "1.5", None])
def test_what_is_no_number_is_a_mistake_in_usage(text: object) -> None:
    with pytest.raises(UsageError, match="--wait must be a whole number") as caught:
        number("--wait", text)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["7", 7, " 7 "])
def test_a_number_is_read_from_what_was_typed(text: object) -> None:
    assert number("--wait", text) == 7


def test_a_long_line_is_not_broken(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    what = "so that it can be pasted: " + "x" * 90
    assert what in ends(StageError(what), capsys)[1]


def test_a_task_keeps_its_name_and_its_help() -> None:
    @reports_errors
    def deploy() -> None:
        """Put it there."""

    assert (deploy.__name__, deploy.__doc__) == ("deploy", "Put it there.")


# --- dry runs -------------------------------------------------------------------------------

LOOK, CHANGE = looks(sh("cat", "/a")), replace(sh("rm", "/a b"), name="data.discard")
START = prints(sh("docker", "run"), "<container>\n")


@pytest.fixture
def dry(output) -> tuple[DryHost, ScriptedHost]:
    real = ScriptedHost({LOOK.text: "there\n"})  # to run any other is a KeyError
    terminal = DryTerminal(Console(file=output, width=40), verbose=True)
    return DryHost(real, terminal, needs_sudo=False), real


def test_a_dry_run_looks_and_prints_the_rest(dry, output) -> None:
    host, real = dry
    assert host.run(LOOK) == "there\n"
    assert host.run(CHANGE, stdin=b"hush") == ""
    assert real.ran == [LOOK.text]
    assert output.getvalue().splitlines() == [
        "# data.discard",
        "$ rm '/a b'",
        "  with 4 bytes on its standard input",
    ]


def test_what_reads_an_output_is_given_an_example(dry, output) -> None:
    host, _ = dry
    lines: list[str] = []
    assert host.run(START, on_line=lines.append) == "<container>\n"
    assert lines == ["<container>"]
    assert "as if it printed: <container>" in output.getvalue()


def test_what_is_only_made_up_is_not_looked_at(dry, output) -> None:
    host, real = dry
    look = prints(looks(sh("docker", "logs", "<container>")), "runs")
    host.run(START)
    assert host.run(look) == "runs"
    assert real.ran == []
    assert "$ docker logs '<container>'" in output.getvalue()


def test_the_commands_are_those_that_sudo_would_run(output) -> None:
    terminal = DryTerminal(Console(file=output), verbose=True)
    DryHost(ScriptedHost({}), terminal, needs_sudo=True).run(CHANGE)
    assert output.getvalue() == "# data.discard\n$ sudo -n -- rm '/a b'\n"


def test_the_lock_is_not_taken(dry, output) -> None:
    host, real = dry
    holder = host.start(Command("hold"))
    assert holder.first_line() == "held"
    assert not holder.is_over()
    holder.send("Build\n")
    holder.close()
    assert real.ran == []
    host.end()
    assert output.getvalue().endswith("nothing was changed. There is nothing to do.\n")


def test_nothing_is_asked_and_nothing_is_claimed_to_be_done(output) -> None:
    terminal = DryTerminal(Console(file=output), verbose=True)
    terminal.agree("Continue?")
    terminal.conclude("It is live.")
    with terminal.step("Build") as step:
        step.end(changed("built"))
    assert output.getvalue() == "           would ask: Continue?\nBuild\n"


def test_without_verbose_it_is_a_plan_that_a_person_can_read(output) -> None:
    terminal = DryTerminal(Console(file=output))
    host = DryHost(ScriptedHost({}), terminal, needs_sudo=False)
    with terminal.step("Build") as step:
        host.run(START, stdin=b"hush", on_line=step.line)
    terminal.would("writes the file")
    host.end()
    assert output.getvalue() == (
        "Build      builds the image\n"
        "           writes the file\n"
        "A dry run: nothing was changed. The commands: --dry-run --verbose\n"
    )


def test_a_plan_has_words_for_each_step_that_there_is() -> None:
    sources = Path(terminal_module.__file__).parents[1].rglob("*.py")
    calls = [
        node
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "step"
    ]
    titles = {
        call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)
    }
    verbs = {OnCopy.verb, Rollback.verb}  # of the one call whose title is a variable
    assert set(WOULD) == titles | verbs
