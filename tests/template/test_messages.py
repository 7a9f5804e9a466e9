"""What copier prints at the end is what to type next: each message, followed to the letter."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import copier
import pytest

from tests.template import existing
from tests.template.conftest import SURROUNDINGS, git
from tests.template.history import commit_all, render

PROGRAMS = Path(sys.executable).parent
WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in {"NAME": "Ada", "EMAIL": "ada@example.com"}.items()
}


class Shell:
    """One shell, in which a person types line after line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SURROUNDINGS)}
        path = f"{PROGRAMS}{os.pathsep}{kept.get('PATH', '')}"
        self.environment = kept | WHO | {"PATH": path}

    def type(self, line: str, status: int = 0) -> str:
        """Run a line to its end; `cd` holds for the next ones."""
        where = self.folder.parent / f"{self.folder.name}.pwd"
        script = f'{line}\nended=$?\npwd >"{where}"\nexit $ended'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == status, f"$ {line}\n{done.stdout}"
        self.folder = Path(where.read_text().strip()).resolve(strict=True)
        return done.stdout

    def serve(self, line: str, url: str) -> str:
        """Run a line that serves; the page once it answers; then Ctrl-C."""
        with subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                return page(url, process)
            finally:
                os.killpg(process.pid, signal.SIGINT)
                time.sleep(1)
                os.killpg(process.pid, signal.SIGKILL)


def page(url: str, process: subprocess.Popen, seconds: int = 240) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
                return answer.read().decode()
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} did not answer")


def commands(message: str) -> list[str]:
    """The lines of a message that are to be typed: the indented ones."""
    return re.findall(r"^  (\S.*)$", message, re.MULTILINE)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def test_the_end_of_a_copy_names_three_commands_to_the_page(
    light_template, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    copier.run_copy(str(light_template), "my site", defaults=True, vcs_ref="HEAD")
    told = commands(capfd.readouterr().err.partition("is ready.")[2])
    assert told[:2] == ["cd 'my site'", "uv run inv dev"]  # and `copier copy` itself
    assert told[2].startswith("git init")
    assert told[3:] == ["uv run inv deploy"]


def test_in_the_folder_itself_there_is_no_folder_to_go_to(
    light_template, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    copier.run_copy(str(light_template), ".", defaults=True, vcs_ref="HEAD")
    told = commands(capfd.readouterr().err.partition("is ready.")[2])
    assert told[0] == "uv run inv dev"


@pytest.mark.slow
def test_a_new_project_is_served_committed_and_asked_for_a_server(template, shell):
    with socket.socket() as taken:
        if taken.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("something else serves on port 8000 here")
    said = shell.type(f"copier copy --defaults --vcs-ref HEAD {template} 'my site'")
    enter, dev, commit, deploy = commands(said.partition("is ready.")[2])
    shell.type(enter)
    assert "mysite_dev" in shell.serve(dev, "http://127.0.0.1:8000/")
    shell.type(commit)
    assert "uv.lock" in shell.type("git ls-files")
    assert not shell.type("git status --short")
    refused = shell.type(
        deploy, status=2
    )  # example.com is nobody's, and no server is named
    assert "deploy.toml" in refused
    assert "Traceback" not in refused


@pytest.mark.slow
def test_an_existing_project_is_adopted_command_by_command(template, shell, tmp_path):
    project = existing.plain(tmp_path / "shop")
    own = tmp_path / "own-environment"
    subprocess.run([PROGRAMS / "uv", "venv", "--quiet", "--seed", own], check=True)
    shell.environment["PATH"] = f"{own / 'bin'}:{shell.environment['PATH']}"
    shell.folder = project
    data = "--data settings_module=shop.settings --data project_slug=shop"
    said = shell.type(
        f"copier copy --defaults --vcs-ref HEAD {data} {template} '../the template'"
    )
    *merge, install, check, deploy = commands(said.partition("Rendered")[2])
    for line in merge:
        shell.type(line)
    assert "pip" in install
    shell.type("pip install --quiet --requirement requirements.txt")
    shell.type(install)
    found = shell.type(check)  # with no edit of the project's own
    assert "✗" not in found
    assert "✓ packages, as the image's Python 3.13 gets them" in found
    (project / ".env").write_text("SHOP_KEY=secret\n")
    todo = shell.type(f"{check} --no-tests", status=1)
    assert "git would track .env" in todo
    assert "✓ tests" not in todo
    (pattern,) = re.findall(r"add a line `(\S+)` to .gitignore", todo)
    shell.type(f"echo '{pattern}' >> .gitignore")
    assert "✗" not in shell.type(f"{check} --no-tests")
    assert "deploy.toml" in shell.type(deploy, status=2)


@pytest.mark.slow
def test_an_update_names_the_files_to_settle_and_how_to_go_on(
    template, shell, tmp_path
):
    source = tmp_path / "source"
    shutil.copytree(template, source, symlinks=True)
    git(source, "tag", "v1.0.0")
    project = render(source, tmp_path / "project", "v1.0.0")
    forms = source / "template/{{ project_slug if not settings_module }}/forms.py"
    forms.write_text(forms.read_text().replace("A line for", "One more line for"))
    commit_all(source, "A new version", tag="v1.1.0")
    mine = project / "mysite/forms.py"
    mine.write_text(mine.read_text().replace("A line for", "My line for"))
    commit_all(project, "Mine")
    shell.folder = project
    said = shell.type("copier update --defaults")
    status, unmerged, check = commands(said.partition("Updated.")[2])
    assert "mysite/forms.py" in shell.type(status)
    assert "mysite/forms.py" in shell.type(unmerged)
    text = mine.read_text()
    mine.write_text(re.sub(r"<{7}.*\n(.*\n)={7}\n.*\n>{7}.*\n", r"\1", text))
    shell.type("git add mysite/forms.py")
    assert not shell.type(unmerged).strip()
    assert "My line for" in mine.read_text()
    assert "✗" not in shell.type(check)
