"""Type `inv …` with one fault in it: `python inject.py FAULT STEP WORDS…`, in a project.

The fault comes with the first command that changes the server in the step of that title
(`Start`, the second of that title `Start 2`; `first` is before any step; `Remove#2` is that
step's second command). What must come from outside is told by the line MARK, and waited for.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARK = "--- here comes the fault ---"
DELAY = (
    0.15  # seconds after the command was sent: in the midst of it, if it takes longer
)


class Fault:
    """Counts the commands, and strikes once."""

    def __init__(self, kind: str, where: str) -> None:
        title, _, count = where.partition("#")
        self.kind, self.title, self.left = kind, title, int(count or 1)
        self.begun: list[str] = []

    @property
    def current(self) -> str:
        if not self.begun:
            return "first"
        title = self.begun[-1]
        times = self.begun.count(title)
        return title if times == 1 else f"{title} {times}"

    def is_due(self, command: Any) -> bool:
        if command.looks or self.current != self.title:
            return False
        self.left -= 1
        return self.left == 0

    def run(self, host: Any, run: Any, command: Any, **options: Any) -> str:
        """Run the command, and let the fault come with it."""
        if self.kind in ("exception", "Ctrl-C"):
            said: str = run(host, command, **options)
            self.raise_it()
            return said
        striker = threading.Thread(target=self.strike, args=(host,), daemon=True)
        striker.start()
        said = run(host, command, **options)
        striker.join()
        return said

    def raise_it(self) -> None:
        from stagetools.errors import CommandFailed

        if self.kind == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        raise CommandFailed("root@test", status=1, output="an injected fault")

    def strike(self, host: Any) -> None:
        time.sleep(DELAY)
        if self.kind == "kill -9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "connection":
            host.host.connection.transport.sock.close()
        else:  # whoever reads this brings it about
            sys.stdout.write(f"{MARK}\n")
            sys.stdout.flush()
            go = Path(os.environ["FAULT_GO"])
            while not go.exists():
                time.sleep(0.01)


def install(fault: Fault) -> None:
    from stagetools.deploy.console.terminal import Step, Terminal
    from stagetools.deploy.host.fence import FencedHost

    step, run = Terminal.step, FencedHost.run

    @contextmanager
    def told(self: Terminal, title: str) -> Iterator[Step]:
        fault.begun.append(title)
        with step(self, title) as shown:
            yield shown

    def struck(self: FencedHost, command: Any, **options: Any) -> str:
        if fault.is_due(command):
            return fault.run(self, run, command, **options)
        return run(self, command, **options)

    Terminal.step, FencedHost.run = told, struck  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # whoever began us may ignore it
    kind, where, *words = sys.argv[1:]
    install(Fault(kind, where))
    from invoke.main import program

    program.run(["inv", *words])
