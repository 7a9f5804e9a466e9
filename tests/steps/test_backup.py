"""What is said of a backup, and what of that a person reads."""

import pytest

from stagetools.deploy.steps import backup
from stagetools.errors import CommandFailed
from tests.steps.scripted import ScriptedHost

MADE = "made=1a2b3c4d database=4096 rows=7 media=0 added=512\n"


def test_a_person_reads_the_result_once_and_all_else_as_it_comes(at) -> None:
    seen: list[str] = []
    host = ScriptedHost({"backup.repository.make": f"unable to open lock\n{MADE}"})
    outcome = backup.make(at(host), seen.append)
    assert seen == ["unable to open lock"]
    assert outcome.text == (
        "1a2b3c4d: database 4.1 kB with 7 rows, uploads 0 bytes; 512 bytes of it new"
    )


def test_a_backup_that_says_nothing_is_a_failure(at) -> None:
    host = ScriptedHost({"backup.repository.make": "unable to open lock\n"})
    with pytest.raises(CommandFailed, match="printed no result"):
        backup.make(at(host), print)
