"""What of an adopted project's LOGGING works on a server too: handlers that write no file.

Its lines go to `inv logs` in any case, so what writes to a console is dropped: it would say
each of them twice. Mail, Sentry, and whatever else a logger is given, stay.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["kept_logs"]

# the project's folder cannot be written to, and there is no /dev/log
_DROPPED = (
    "FileHandler",
    "StreamHandler",
    "RichHandler",
    "SysLogHandler",
    "WatchedFileHandler",
)
_REFERS = ("target", "handlers")  # to other handlers, which may be dropped
_MAIL = "AdminEmailHandler"


def kept_logs(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Ours; and theirs: each logger's level, and those handlers that work there."""
    root = ours.get("root", {})
    mails = "mail_admins" in root.get("handlers", ())
    kept = {
        name: handler
        for name, handler in own.get("handlers", {}).items()
        if _works(handler) and not (mails and _class_of(handler) == _MAIL)
    }
    parts = {
        part: {**own.get(part, {}), **ours.get(part, {})}
        for part in ("filters", "formatters")
        if kept
    }
    return {
        **ours,
        **parts,
        "handlers": {**ours.get("handlers", {}), **kept, **_stdout(ours)},
        "loggers": _loggers(own, ours, kept),
        "root": {**root, "handlers": _both(root, own.get("root", {}), kept)},
    }


def _class_of(handler: Mapping[str, Any]) -> str:
    made_by = handler.get("class", handler.get("()", ""))
    name = made_by if isinstance(made_by, str) else getattr(made_by, "__name__", "")
    return name.rpartition(".")[2]


def _works(handler: Mapping[str, Any]) -> bool:
    is_file = "filename" in handler or _class_of(handler).endswith(_DROPPED)
    return not is_file and not any(name in handler for name in _REFERS)


def _stdout(ours: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, whatever they call so."""
    handlers = ours.get("handlers", {})
    return {"stdout": handlers["stdout"]} if "stdout" in handlers else {}


def _loggers(
    own: Mapping[str, Any], ours: Mapping[str, Any], kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Each passes on to the root, or its lines would be lost with its console's handler."""
    loggers: dict[str, Any] = dict(ours.get("loggers", {}))
    theirs = own.get("loggers", {})
    for name, logger in theirs.items():
        if not name:
            continue
        mine = loggers.get(name, {})
        level = {"level": logger["level"]} if "level" in logger else {}
        both = {**level, **mine}
        if handlers := _both(mine, logger, kept):
            both["handlers"] = handlers
        if both:
            loggers[name] = both
    return loggers


def _both(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], kept: Mapping[str, Any]
) -> list[str]:
    more = [name for name in theirs.get("handlers", ()) if name in kept]
    return list(dict.fromkeys([*mine.get("handlers", ()), *more]))
