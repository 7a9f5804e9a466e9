"""Lines of a site's log, as `stagetools.settings.logs` writes them: for a person, or as JSON."""

import json
import re
from typing import Any

__all__ = ["as_json", "readable"]

_EVENT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<level>[A-Z]+) (?P<request>\S+)"
    r" (?P<logger>[\w.]+): (?P<message>.*)"
)
_REQUEST = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>.*)" (?P<status>\d{3}) (?P<milliseconds>\d+)ms'
    r" (?P<address>\S+)"
)
_NUMBERS = ("status", "milliseconds")
# Only what a traceback has of its own: a visitor's address may hold any characters.
_TRACEBACK = re.compile(
    r"\\n(?= *\+? *(?:Exception Group )?Traceback \(most recent call last\):\\n)"
)
_LINE_END = re.compile(r"(\\)?\\n")


def readable(line: str) -> str:
    """The line, a traceback below it with its lines set in: none can pass for an event."""
    told, *traceback = _TRACEBACK.split(line, maxsplit=1)
    return "\n    ".join([told, *(_unfolded(text, "\n    ") for text in traceback)])


def as_json(line: str) -> str:
    """One object, on one line: `message` alone, where the line is none of Django's logging."""
    event = _EVENT.fullmatch(line)
    return json.dumps(_fields(event) if event else {"message": line})


def _fields(event: re.Match[str]) -> dict[str, Any]:
    fields: dict[str, Any] = event.groupdict()
    fields["message"], *traceback = _TRACEBACK.split(event["message"], maxsplit=1)
    if traceback:
        fields["traceback"] = _unfolded(traceback[0], "\n")
    if request := _REQUEST.fullmatch(event["message"]):
        numbers = {name: int(request[name]) for name in _NUMBERS}
        fields |= request.groupdict() | numbers
    return fields


def _unfolded(text: str, line_end: str) -> str:
    r"""With line ends where the log has `\n`; a `\n` of the text itself stands as `\\n`."""
    return _LINE_END.sub(lambda found: r"\n" if found[1] else line_end, text)
