"""The two commands of the README, typed as they stand on a machine with next to nothing.

The second one runs all tests, for minutes on end; CI itself has typed it, on its own machine.
So where there is next to nothing it is typed before a release: `RELEASE=1`.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.machines import docker, forget, in_memory
from tests.server.project import REPOSITORY

COMMANDS = re.findall(
    r"^ {4}(python3 -m venv .+)$", (REPOSITORY / "README.md").read_text(), re.M
)
PAGE = "import urllib.request; print(urllib.request.urlopen('http://localhost:8000/').read().decode())"


@pytest.fixture(scope="module")
def machine(images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Debian with git, python3 and python3-venv, and a fresh clone in an empty folder."""
    clone = tmp_path_factory.mktemp("clone") / "django-prod"
    subprocess.run(["git", "clone", "-q", "--no-local", REPOSITORY, clone], check=True)
    name = f"stagetools-test-readme-{time.time_ns()}"
    words = [*in_memory(name, "/root"), "--tmpfs=/tmp:exec", "debian:trixie-slim"]
    docker("run", "-d", "--name", name, *words, "sleep", "infinity")
    install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends git python3 python3-venv"
    docker("exec", name, "sh", "-euc", install)
    docker("exec", name, "mkdir", "/root/empty")
    docker("cp", str(clone), f"{name}:/root/empty/")
    docker("exec", name, "chown", "-R", "root:", "/root/empty")
    yield name
    docker("rm", "-f", "-v", name)
    forget()


def type_in(machine: str, command: str) -> list[str]:
    return [
        "docker",
        "exec",
        "-w",
        "/root/empty/django-prod",
        machine,
        "bash",
        "-c",
        command,
    ]


def test_there_are_two_commands() -> None:
    assert [command.split()[-1] for command in COMMANDS] == ["demo", "pytest"]


def test_the_first_command_ends_with_a_site_on_localhost(
    machine, tmp_path: Path
) -> None:
    with (tmp_path / "said").open("w+") as said:
        typed = subprocess.Popen(
            type_in(machine, COMMANDS[0]), stdout=said, stderr=said
        )
        page = wait_for_page(machine, typed)
        said.seek(0)
        assert "mysite_dev" in page, said.read()
    docker("restart", "--time", "1", machine)  # ends all that was typed
    typed.wait(timeout=30)


def wait_for_page(machine: str, typed: subprocess.Popen[bytes]) -> str:
    """The first page as soon as it comes, or nothing when the command ended before."""
    end = time.monotonic() + 300
    while time.monotonic() < end and typed.poll() is None:
        asked = subprocess.run(
            ["docker", "exec", machine, "python3", "-c", PAGE],
            capture_output=True,
            text=True,
        )
        if asked.returncode == 0:
            return asked.stdout
        time.sleep(1)
    return ""


@pytest.mark.skipif(not os.environ.get("RELEASE"), reason="before a release: RELEASE=1")
def test_the_second_command_runs_the_tests(machine) -> None:
    done = subprocess.run(
        type_in(machine, COMMANDS[1]), capture_output=True, text=True, timeout=2400
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
