"""Day to day: commands of manage.py, logs, values of the environment, and what is typed wrongly."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from tests.server.browser import Browser
from tests.server.changes import take_load
from tests.server.machines import Server
from tests.server.project import Done, Project

INV = Path(sys.executable).parent / "inv"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("running", with_docker=True)


@pytest.fixture(scope="module")
def project(server, new_project) -> Project:
    project: Project = new_project()
    project.target(server, domain="mysite.test")
    project.deploy()
    return project


def begin(
    project: Project, *words: str, to: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Type a task, and do not wait for its end."""
    return subprocess.Popen(
        [INV, *words], cwd=project.root, env=project.environment, text=True,
        stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(server: Server, command: str, what: str) -> None:
    for _ in range(120):
        if what in server.run(f"{command} || true"):
            return
        time.sleep(0.25)
    raise AssertionError(f"{command} never said {what!r}")


RUNNING = "docker ps --filter label=stagetools.manage --format '{{.Label \"stagetools.manage\"}}'"


# --- manage -------------------------------------------------------------------------------


IMPORT = """
import pathlib, time
print("begun", flush=True)
for _ in range(3000):
    if pathlib.Path("/home/mysite_prod/media/go").exists():
        break
    time.sleep(0.1)
print("over")
"""


def test_a_deploy_does_not_end_a_command_that_runs(server, project) -> None:
    """A long import: the release's own container, in which it ran before, is stopped."""
    typed = begin(project, "manage", f"shell -c '{IMPORT}'")
    wait_for(server, RUNNING, "shell")
    project.write("mysite/more.py", "MORE = 1\n")
    done = project.inv("deploy")
    server.run("touch /home/mysite_prod/media/go")
    said, _ = typed.communicate(timeout=120)
    assert "was live after" in done.text, str(done)
    assert (typed.returncode, "over" in said) == (0, True), str(said)
    assert server.run(RUNNING) == ""


def test_what_a_command_says_reads_and_ends_with_is_its_own(project) -> None:
    assert project.inv("manage", "shell -c 'raise SystemExit(7)'").status == 7
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    everything = bytes(range(256)) * 500
    echoed = subprocess.run(
        [INV, "manage", f"shell -c '{code}'"], input=everything,
        cwd=project.root, env=project.environment, capture_output=True, check=True,
    )  # fmt: skip
    assert everything in echoed.stdout  # shell says what it imported before it
    database = (
        "import django.db as d; print(list(d.connection.introspection.table_names()))"
    )
    assert "django_migrations" in project.inv("manage", f"shell -c '{database}'").text


def test_there_is_a_shell_for_the_database(project) -> None:
    done = project.inv("manage", "dbshell -- 'select count(*) from mysite_entry'")
    assert done.status == 0
    assert re.search(r"\(\d+,\)", done.text)


def test_what_a_command_prints_is_not_kept_in_the_journal(project) -> None:
    """It may be a dump of all customers."""
    assert (
        "to-be-seen" in project.inv("manage", "shell -c 'print(\"to-be-seen\")'").text
    )
    assert project.inv("logs", "--grep", "to-be-seen").text == ""


def test_a_command_typed_at_a_terminal_has_one(project) -> None:
    """Which is what createsuperuser, dbshell and shell ask for."""
    code = 'import sys; print("terminal:", sys.stdin.isatty(), sys.stdout.isatty())'
    here, there = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", INV, "manage", f"shell -c '{code}'"],
        cwd=project.root, env=project.environment, stdin=there, stdout=there, stderr=there,
    )  # fmt: skip
    os.close(there)
    said = b""
    while b"terminal:" not in said or b"\n" not in said.split(b"terminal:")[1]:
        try:
            said += os.read(here, 4096)
        except OSError:
            break
    assert process.wait(timeout=30) == 0, str(said)
    os.close(here)
    assert b"terminal: True True" in said, str(said)


def test_ctrl_c_ends_the_command_on_the_server_too(server, project) -> None:
    typed = begin(project, "manage", 'shell -c "import time; time.sleep(300)"')
    wait_for(server, RUNNING, "shell")
    time.sleep(1)
    typed.send_signal(signal.SIGINT)
    said, _ = typed.communicate(timeout=30)
    assert typed.returncode == 130, str(said)
    assert "Interrupted. shell was ended on the server." in said
    assert "Traceback (most recent call last)" not in said.split("Interrupted")[1]
    assert server.run(RUNNING.replace("docker ps", "docker ps --all")) == ""


# --- logs ---------------------------------------------------------------------------------


def test_lines_with_a_plain_word_come_in_their_order(server, project) -> None:
    browser = Browser(server.address, "mysite.test")
    for path in ("/a.*b-0", "/a.*B-1", "/axxb-2", "/a.*b-3"):
        assert browser.get(path).status == 404
    done = project.inv("logs", "--grep", "A.*b", "--tail", "2")
    lines = [line for line in done.text.splitlines() if "/a" in line]
    assert [re.search(r"/a\S*-\d", line)[0] for line in lines] == ["/a.*B-1", "/a.*b-3"]
    assert project.inv("logs", "--grep", "no such word").text == ""
    refused = project.inv("logs", "--since", "nonsense")
    assert (refused.status, "--since takes a span" in refused.text) == (2, True)


@pytest.mark.parametrize("words", [[], ["--grep", "/mark-of-"]])
def test_following_ends_with_ctrl_c_and_without_a_word(
    server, project, tmp_path, words: list[str]
) -> None:
    mark, said = f"/mark-of-{len(words)}", tmp_path / "said"
    with said.open("w") as file:
        typed = begin(project, "logs", "--follow", "--tail", "0", *words, to=file)
    for _ in range(60):
        Browser(server.address, "mysite.test").get(mark)
        time.sleep(1)
        if mark in said.read_text():
            break
    for _ in range(2):  # twice, as one does
        typed.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert typed.wait(timeout=20) == 0, said.read_text()
    assert mark in said.read_text()
    assert "Traceback" not in said.read_text()
    assert "Interrupt" not in said.read_text()


# --- the environment ----------------------------------------------------------------------


def test_the_environment_keeps_what_was_there_and_takes_back_what_is_refused(
    server, project
) -> None:
    env = "/home/mysite_prod/env"
    server.run(f"printf '# by hand\\nGREETING=hello there\\n' >>{env}")
    before = server.run(f"cat {env}")
    done = project.inv("env.set", "COLOUR=blue")
    assert done.status == 0, str(done)
    assert server.run(f"cat {env}") == f'{before}\nCOLOUR="blue"'
    asked = "manage", "shell -c 'import os; print(os.environ[\"GREETING\"])'"
    assert "hello there" in project.inv(*asked).text
    serving = _serving(project.inv("status"))

    refused = project.inv("env.set", "SECRET_KEY=")  # with which no release starts
    assert refused.status == 1, refused
    assert "The environment file is as it was before." in refused.text
    assert server.run(f"cat {env}") == f'{before}\nCOLOUR="blue"'
    assert server.run(f"ls {env}*") == env
    assert _serving(project.inv("status")) == serving
    assert "healthy" in project.inv("status").text
    done = project.inv("env.unset", "COLOUR")
    assert done.status == 0, str(done)
    assert server.run(f"cat {env}") == before


def _serving(done: Done) -> str:
    found = re.search(r"^release +(\S+),", done.text, re.MULTILINE)
    assert found, str(done)
    return found[1]


# --- drain --------------------------------------------------------------------------------


def test_a_request_that_outlasts_the_drain_is_counted(server, project) -> None:
    """`drain` in deploy.toml says how long a release may finish what it has begun."""
    take_load(project)
    project.deploy()
    project.replace("deploy.toml", "domains", "drain = 2\ndomains")
    browser = Browser(server.address, "mysite.test")
    with ThreadPoolExecutor() as pool:
        short = pool.submit(browser.get, "/load/slow?seconds=12")
        for _ in range(2):
            pool.submit(browser.get, "/load/slow?seconds=60")
        time.sleep(1)
        done = project.inv("restart")
        assert short.result().status == 200
    assert done.status == 0, str(done)
    assert re.search(
        r"Drain: \S+ stopped; [23] requests still under way after 2 s", done.text
    ), done


# --- words as people type them ------------------------------------------------------------


def test_words_reach_the_server_as_they_were_typed(project) -> None:
    said = project.inv("manage", "showmigrations", "mysite")
    assert "[X] 0001_initial" in said.text, str(said)
    assert "sessions" not in said.text
    plan = project.inv("manage", "--", "migrate", "--plan")
    assert "No planned migration operations" in plan.text, str(plan)
    done = project.inv("env.set", "FIRST=1", "SECOND=two words")
    assert (done.status, done.text.count("Switch: ")) == (0, 1), str(done)
    assert project.inv("env.get", "SECOND").text == "two words\n"


# --- what is typed wrongly, and who goes before the end -----------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["manage", "shell -c 'x"], "a quote in it is not closed"),
        (["deploy", "--wait", "x"], "--wait must be a whole number"),
        (["logs", "--tail", "many"], "--tail must be a whole number"),
        (["env.set", "no name=1"], "is not KEY=VALUE"),
    ],
)
def test_what_is_typed_wrongly_is_said_in_words(
    project, words: list[str], said: str
) -> None:
    done = project.inv(*words)
    assert (done.status, said in done.text) == (2, True), str(done)
    assert "Traceback" not in done.text


def test_who_stops_reading_hears_no_complaint(project) -> None:
    for words in ("status", "logs --tail 50", "releases"):
        done = subprocess.run(
            ["bash", "-c", f"{INV} {words} | head -n 1"],
            cwd=project.root, env=project.environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout.strip()
        assert done.stderr == "", words
