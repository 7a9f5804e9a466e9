"""`docs/faults.md` is written by the tests of the faults, and tells rows that they have."""

from tests.server.faults_table import MOVE, PAGE, RETURN, page, read
from tests.server.test_interruptions import rows


def test_its_rows_are_rows_of_the_table() -> None:
    keys = {(row.task, row.step, row.fault) for row in rows()}
    for table in (MOVE, RETURN):
        keys |= {(table.task, step, fault) for fault, step in table.rows}
    there = {line.key for line in read()}
    assert there
    assert there <= keys


def test_it_is_as_it_was_written() -> None:
    assert PAGE.read_text() == page(read())
