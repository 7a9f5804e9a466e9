"""The shell scripts that a deploy sends: read by shellcheck where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "stagetools/deploy/scripts").glob("*.sh"))


def test_there_are_some() -> None:
    assert SCRIPTS


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", *SCRIPTS], capture_output=True, text=True, check=False
    )
    assert not done.stdout, done.stdout
