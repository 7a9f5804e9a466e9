"""A server's clock, moved for that server alone: what its timers wait for comes at once.

See clock.c for how. The time goes on from where it was moved to. What Go's programs say of the
time (restic, the engine) stays this machine's, and so do the times of files.
"""

import struct
import subprocess
import time
from pathlib import Path

from tests.server.machines import Server, docker

SOURCE = Path(__file__).with_name("clock.c")
CALM = "apt-daily apt-daily-upgrade dpkg-db-backup systemd-tmpfiles-clean"
"""What else has timers on a Debian, and nothing to do with what the tests are about."""


class Clock:
    """The clock of a server; `put_back` lets it be this machine's again."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        library = folder / "clock.so"
        words = ["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
        subprocess.run(words, check=True)
        server.run("mkdir /clock; head -c 8 /dev/zero >/clock/offset")
        docker("cp", str(library), f"{server.container}:/clock/clock.so")
        timers = " ".join(f"{name}.timer" for name in CALM.split())
        server.run(f"systemctl stop {timers}")
        server.run("echo /clock/clock.so >/etc/ld.so.preload; systemctl daemon-reexec")

    def move(self, seconds: int) -> None:
        """Let it differ from this machine's by so much; systemd is told, as by a kernel."""
        octal = "".join(f"\\{byte:03o}" for byte in struct.pack("<q", seconds))
        to = "dd of=/clock/offset conv=notrunc status=none"
        self.server.run(f"printf '{octal}' | {to}")

    def put_back(self) -> None:
        self.move(0)

    def next_of(self, timer: str) -> int:
        """When systemd will start what the timer is for, in seconds since 1970."""
        ask = f"systemctl show --property NextElapseUSecRealtime --value {timer}.timer"
        return int(self.server.run(f'date -d "$({ask})" +%s'))

    def wait_for(self, timer: str) -> str:
        """Go to seconds before the timer's next time; what came of its service, by systemd."""
        before = self._last(timer)
        self.move(self.next_of(timer) - int(time.time()) - 3)
        for _ in range(240):
            if (last := self._last(timer)) != before and last["ActiveState"] in (
                *("inactive", "failed"),
            ):
                return last["Result"]
            time.sleep(0.5)
        raise AssertionError(self.server.run(f"systemctl status {timer}.* || true"))

    def _last(self, timer: str) -> dict[str, str]:
        properties = "ActiveState,Result,ExecMainExitTimestampMonotonic"
        said = self.server.run(f"systemctl show --property {properties} {timer}")
        return dict(line.split("=", 1) for line in said.splitlines())
