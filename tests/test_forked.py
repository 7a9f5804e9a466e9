"""A forked program lives as one of a fresh interpreter does."""

import subprocess
import sys

import pytest

from tests.forked import FORKER, can_be_forked

TELL = """
import json, os, sys
print(json.dumps([
    sys.argv, os.getcwd(), dict(os.environ), sys.path, sys.executable, sys.stdin.read(),
    __name__, globals().get("__file__"), os.path.basename(sys.modules["__main__"].__name__),
    sorted(name for name in sys.modules if name.startswith(("stagetools", "tests"))),
]))
print("said", file=sys.stderr)
"""


@pytest.fixture
def both(tmp_path):
    """Run the same words in a fork and in an interpreter of their own."""
    (tmp_path / "tell.py").write_text(TELL)
    (tmp_path / "beside").mkdir()
    own = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_CTYPE": "C.UTF-8"}
    own |= {"PYTHONPATH": str(tmp_path / "beside"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*words: str):
        assert can_be_forked(words, own)
        fresh = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=own, text=True,
            capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return FORKER.run(words, tmp_path, own), fresh

    return run


@pytest.mark.parametrize(
    "words", [("tell.py", "a", "b"), ("-m", "tell", "a"), ("-c", TELL, "a")]
)
def test_it_has_the_words_the_paths_and_the_variables(both, words):
    forked, fresh = both(*words)
    assert fresh.returncode == 0
    assert forked.stdout == fresh.stdout
    assert forked.stderr == "said\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('words')", 1),
        ("raise OSError('failed')", 1),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import atexit; atexit.register(print, 'at the end')", 0),
    ],
)
def test_it_ends_as_the_interpreter_does(both, code, status):
    forked, fresh = both("-c", code)
    assert forked.returncode == fresh.returncode == status
    assert forked.stdout == fresh.stdout
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_what_is_for_the_interpreter_itself_is_not_forked():
    assert not can_be_forked(["-W", "error", "manage.py"], {})
    assert not can_be_forked(["manage.py"], {"PYTHONOPTIMIZE": "1"})
