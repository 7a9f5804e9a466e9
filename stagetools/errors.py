"""What stagetools raises, and with which exit status a command line ends.

StageError                  exit 1: a step failed
├── UsageError              exit 2: usage or configuration; nothing was touched
│   ├── SystemNameError     a name that breaks the convention
│   └── ConfigError         deploy.toml or an answer that cannot be used
├── ConnectionFailed        exit 1: the server could not be reached or trusted
├── CommandFailed           exit 1: a command on the server ended with an error
├── LockHeld                exit 1: somebody else is changing this stage
├── LockLost                exit 1: the server took this task for dead
└── Interrupted             exit 130: Ctrl-C
"""

__all__ = [
    "CommandFailed",
    "ConfigError",
    "ConnectionFailed",
    "Interrupted",
    "LockHeld",
    "LockLost",
    "StageError",
    "SystemNameError",
    "UsageError",
]


class StageError(RuntimeError):  # of which gunicorn prints the text, not the traceback
    """What happened, what was left as it was, and what to do, each a sentence or two."""

    exit_code = 1

    def __init__(self, what: str, *, untouched: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.untouched = untouched
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(
            part for part in (self.what, self.untouched, self.remedy) if part
        )


class UsageError(StageError):
    """Refused before anything was touched."""

    exit_code = 2


class SystemNameError(UsageError, ValueError):
    """A name that is not `<configuration>_<stage name>`."""


class ConfigError(UsageError):
    """deploy.toml, or an answer in its place, cannot be used."""


class ConnectionFailed(StageError):  # noqa: N818 - what happened is its name
    """The server could not be reached, or is not the one that it should be."""


class LockHeld(StageError):  # noqa: N818 - what happened is its name
    """Another task is changing this stage right now."""


class LockLost(StageError):  # noqa: N818 - what happened is its name
    """The server took this task for dead, and runs no more of its commands."""


class Interrupted(StageError):  # noqa: N818 - what happened is its name
    """A person pressed Ctrl-C; what had been done was put back."""

    exit_code = 130


class CommandFailed(StageError):  # noqa: N818 - what happened is its name
    """A command on the server ended with an error; `output` is its own last words.

    `command` is its name, `traffic.switch`, where it has one.
    """

    def __init__(
        self, what: str, *, status: int, output: str = "", command: str = ""
    ) -> None:
        super().__init__(what)
        self.status = status
        self.command = command
        self.output = output
