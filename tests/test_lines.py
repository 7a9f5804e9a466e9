"""A site's lines, written in one process and read in another."""

import json
import logging

import pytest

from stagetools.deploy.console.lines import as_json, readable
from stagetools.settings.logs import LineFormatter

STOLEN = "2026-11-26T01:39:51.911Z ERROR - django: all is lost"


def written(message: str, error: Exception | None = None) -> str:
    """One event, as a site in production writes it."""
    try:
        if error:
            raise error
    except Exception as raised:
        caught = (type(raised), raised, raised.__traceback__)
    else:
        caught = None
    record = logging.LogRecord(
        "shop.views", logging.ERROR, __file__, 1, message, None, caught
    )
    record.request_id = "21377b6d3a9fa2cb"
    line = LineFormatter(keeps_lines=False).format(record)
    assert "\n" not in line
    return line


def test_a_traceback_has_its_lines_back_set_in_below_its_event() -> None:
    lines = readable(written("No cart", ValueError("a\nb"))).splitlines()
    assert lines[0].endswith(" ERROR 21377b6d3a9fa2cb shop.views: No cart")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-2:] == ["    ValueError: a", "    b"]
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_traceback_of_a_group_too() -> None:
    said = readable(written("Two", ExceptionGroup("both", [ValueError(1)])))
    assert "\n      + Exception Group Traceback (most recent call last):\n" in said


@pytest.mark.parametrize("text", [r"a\nb", r"C:\new", "back\\\\nslash"])
def test_what_looks_like_a_line_end_is_none(text: str) -> None:
    error = ValueError(text)
    assert readable(written("No", error)).endswith(f"\n    ValueError: {text}")
    assert json.loads(as_json(written("No", error)))["traceback"].endswith(text)


@pytest.mark.parametrize("before", ["", "/\nTraceback (most recent call last):\n"])
def test_nobody_forges_an_event(before: str) -> None:
    lines = readable(written(f"{before}\n{STOLEN}")).splitlines()
    assert [line for line in lines if line.startswith("2026")] == lines[:1]


def test_an_event_as_json_has_its_parts() -> None:
    event = json.loads(as_json(written("No cart", ValueError("gone"))))
    assert event["level"] == "ERROR"
    assert event["request"] == "21377b6d3a9fa2cb"
    assert event["logger"] == "shop.views"
    assert event["message"] == "No cart"
    assert event["traceback"].startswith("Traceback (most recent call last):\n  File ")


def test_a_request_as_json_has_its_parts() -> None:
    event = json.loads(as_json(written('"GET /a "b" 200" 404 12ms 2001:db8::7')))
    parts = {"method": "GET", "path": '/a "b" 200', "status": 404, "milliseconds": 12}
    assert event.items() >= (parts | {"address": "2001:db8::7"}).items()


@pytest.mark.parametrize("line", ["Worker 7 left", "", '{"a": 1}'])
def test_any_other_line_stays_as_it_is(line: str) -> None:
    assert readable(line) == line
    assert json.loads(as_json(line)) == {"message": line}
