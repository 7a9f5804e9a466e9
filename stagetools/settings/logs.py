"""Logs go to standard output, one line an event, each with its request's id."""

import logging
import re
import time
from contextvars import ContextVar
from typing import Any

from stagetools.config import Config
from stagetools.naming.system import System

__all__ = [
    "REQUEST_ID",
    "LineFormatter",
    "RequestIdFilter",
    "logging_settings",
    "to_stdout",
]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
_LINE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(request_id)s %(name)s: %(message)s"
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line end
# all but tab; and a backslash before an n, which is no line end (see deploy/console/lines.py)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]|\\(?=n)")


class RequestIdFilter(logging.Filter):
    """Puts the id of the request that is being answered into each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


class LineFormatter(logging.Formatter):
    r"""Writes an event on one line, a traceback too: its line ends become `\n`.

    On one line, so that `--grep` finds the whole of it, and a path that a client made up can
    neither forge a line nor steer a terminal; `inv logs` gives a traceback its lines back.
    The time is UTC.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self, *, keeps_lines: bool) -> None:
        super().__init__(_LINE, "%Y-%m-%dT%H:%M:%S")
        self.pattern = _STEERING if keeps_lines else _CONTROL

    def format(self, record: logging.LogRecord) -> str:
        return self.pattern.sub(_escape, super().format(record))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def to_stdout(*, keeps_lines: bool = False) -> dict[str, Any]:
    """The base of a logging configuration: the handler `stdout`, and nothing that logs."""
    formatter = {
        "()": "stagetools.settings.logs.LineFormatter",
        "keeps_lines": keeps_lines,
    }
    handler = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stdout",
        "filters": ["request_id"],
        "formatter": "line",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "stagetools.settings.logs.RequestIdFilter"}},
        "formatters": {"line": formatter},
        "handlers": {"stdout": handler},
    }


def logging_settings(system: System, config: Config) -> dict[str, Any]:
    """LOGGING. In debug stages a traceback keeps its lines, for a person is reading."""
    base = to_stdout(keeps_lines=system.is_debug)
    mail = {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR"}
    mails = ["mail_admins"] if _mails_errors(config) else []
    return base | {
        "handlers": {**base["handlers"], "mail_admins": mail},
        "root": {
            "handlers": ["stdout", *mails],
            "level": config.text("LOG_LEVEL", "INFO").upper(),
        },
        "loggers": {
            # these have handlers of Django's own, which would say everything twice
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True, "level": "ERROR"},
            # a 404 or 403 has its line from stagetools.requests; errors have tracebacks
            "django.request": {"level": "ERROR"},
            # scanners ask for any host name: an answer of 400, and no mail to anybody
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }


def _mails_errors(config: Config) -> bool:
    return bool(config.words("ADMINS") and config.text("EMAIL_HOST"))
