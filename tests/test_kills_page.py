"""`docs/kills.md` is written by the test of the kills, and keeps what it promises."""

from tests.server.kills_table import EACH, HEAD, PAGE

# The setting with which a power cut may take the last moments.
FORGETFUL = ("power", "NORMAL")


def test_it_tells_fifty_kills_after_which_no_write_was_lost() -> None:
    text = PAGE.read_text()
    assert text.startswith(HEAD)
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    rows = [dict(zip(EACH, line, strict=True)) for line in lines if line[0].isdigit()]
    assert {row["integrity"] for row in rows} == {"ok"}
    lasting = [row for row in rows if (row["kind"], row["synchronous"]) != FORGETFUL]
    assert len(lasting) >= 50
    assert {row["lost"] for row in lasting} == {"0"}
