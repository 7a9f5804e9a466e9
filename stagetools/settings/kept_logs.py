"""What of an adopted project's LOGGING works on a server too: handlers that write no file.

Its lines go to `inv logs` in any case, so what writes to a console is dropped: it would say
each of them twice. Mail, Sentry, and whatever else a logger is given, stay, and get what they
got before: no line that only our own, lower level lets through, and none of them twice.
"""

import logging
from collections.abc import Container, Mapping
from typing import Any

__all__ = ["RootLevelFilter", "kept_logs"]

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
_FILTER = "stagetools_root_level"


class RootLevelFilter(logging.Filter):
    """Gives loggers without a level of their own that of the project's root, and not ours."""

    def __init__(self, level: int | str) -> None:
        super().__init__()
        names = logging.getLevelNamesMapping()
        self.level = names[level] if isinstance(level, str) else level

    def filter(self, record: logging.LogRecord) -> bool:
        logger = logging.getLogger(record.name)
        while logger.parent and not logger.level:
            logger = logger.parent
        return bool(logger.parent) or record.levelno >= self.level


def kept_logs(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Ours; and theirs: each logger's level, and those handlers that work there."""
    root = ours.get("root", {})
    mails = "mail_admins" in root.get("handlers", ())
    kept = {
        name: {**handler, "filters": [*handler.get("filters", ()), _FILTER]}
        for name, handler in own.get("handlers", {}).items()
        if _works(handler) and not (mails and _class_of(handler) == _MAIL)
    }
    their_root = {**own.get("loggers", {}).get("", {}), **own.get("root", {})}
    parts = {
        part: {**own.get(part, {}), **ours.get(part, {})}
        for part in ("filters", "formatters")
        if kept
    }
    if kept:
        parts["filters"][_FILTER] = _filter(their_root)
    return {
        **ours,
        **parts,
        "handlers": {**ours.get("handlers", {}), **kept, **_stdout(ours)},
        "loggers": _loggers(own, ours, kept),
        "root": {**root, "handlers": _both(root, their_root, kept)},
    }


def _filter(their_root: Mapping[str, Any]) -> dict[str, Any]:
    level = their_root.get("level") or "WARNING"  # as Python has it
    return {"()": f"{__name__}.{RootLevelFilter.__name__}", "level": level}


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
    """Each reaches ours, or its lines would be lost with its console's handler.

    One that does not propagate still does not: their root's handlers never had its lines.
    """
    loggers: dict[str, Any] = dict(ours.get("loggers", {}))
    theirs = own.get("loggers", {})
    for name, logger in theirs.items():
        if not name:
            continue
        mine = loggers.get(name, {})
        level = {"level": logger["level"]} if "level" in logger else {}
        both = {**level, **mine}
        handlers = _both(mine, logger, kept)
        if not logger.get("propagate", True):
            both["propagate"] = False
            handlers = _both(ours.get("root", {}), {"handlers": handlers}, handlers)
        if handlers:
            both["handlers"] = handlers
        if both:
            loggers[name] = both
    return loggers


def _both(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], kept: Container[str]
) -> list[str]:
    more = [name for name in theirs.get("handlers", ()) if name in kept]
    return list(dict.fromkeys([*mine.get("handlers", ()), *more]))
