"""What every step works on: one installation, on its server."""

from dataclasses import dataclass

from stagetools.deploy.config import StageConfig
from stagetools.deploy.host.host import Host, OnLine, OnSent, Reads
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """An installation: its server, where its things are there, and what deploy.toml says."""

    host: Host
    layout: Layout
    config: StageConfig

    @property
    def name(self) -> str:
        """`shop_prod`"""
        return self.layout.system.name

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """Standard output, as `Host.run` has it."""
        return self.host.run(command, stdin=stdin, on_line=on_line, on_sent=on_sent)
