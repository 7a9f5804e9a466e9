"""What a change has done so far, and from that alone: what still serves and is untouched."""

from dataclasses import dataclass, field

__all__ = ["Moving", "Standing"]


@dataclass(slots=True)
class Standing:
    """How an installation stands in the middle of a change.

    The steps write down what they did; every message about what serves is worded here.
    """

    before: str = ""  # the release that served when the change began
    serves: str = ""  # the one that serves now
    applied: list[str] = field(default_factory=list)
    """Migrations on the live database, while `before` serves on it."""
    partly: str = ""  # a migration that may stand in part: it is not atomic
    migrating: bool = False  # the live database: how that ended is not known
    snapshot: str = ""  # a copy of the live database, made by this change
    held: bool = False  # visitors wait at the proxy
    switching: bool = False  # a switch was asked for, and has not answered
    lost: bool = False
    """The connection is gone: what the server does since then is not known."""

    def switched(self, to: str) -> None:
        """Another release serves, on a database that it knows."""
        self.serves, self.held, self.switching = to, False, False

    def words(self) -> str:
        """What serves, on which database; whole sentences."""
        return " ".join(filter(None, (self._serving(), self._database())))

    def _serving(self) -> str:
        if self.switching:
            return (
                f"Either {self.before or 'no release'} or the new release serves now,"
                " each with its own database: inv status says which."
            )
        if self.held and self.lost:
            return (
                f"Visitors were waiting; the server lets {self.before} serve them again"
                " by itself, within seconds."
            )
        if self.held:
            return f"Visitors still wait for {self.before}: the next task ends that."
        if not self.serves:
            return "No release serves, and none did before."
        if self.serves != self.before and self.lost:
            return (
                f"{self.serves} served when the connection was lost: inv status says what"
                " serves now."
            )
        if self.serves != self.before:
            return f"{self.serves} serves."
        return f"{self.serves} goes on serving."

    def _database(self) -> str:
        """Only of the database of `before`: another release knows what it was given."""
        if self.switching or not self.before or self.serves != self.before:
            return ""
        said = [self._applied(), self._unsure(), self._kept()]
        return " ".join(filter(None, said)) or "Its database was not touched."

    def _applied(self) -> str:
        if not self.applied:
            return ""
        return f"Applied to the live database: {', '.join(self.applied)}."

    def _unsure(self) -> str:
        if self.partly:
            return f"{self.partly} is not atomic, and may stand in the live database in part."
        if self.migrating:
            return (
                "Whether the migration under way was applied to the live database is not"
                " known here: the next deploy looks."
            )
        return ""

    def _kept(self) -> str:
        if not self.snapshot or not (self.applied or self.partly or self.migrating):
            return ""
        return f"The database as it was before is kept: {self.snapshot}."


@dataclass(slots=True, kw_only=True)
class Moving(Standing):
    """How a move stands: which of two servers serves."""

    old: str = ""
    new: str = ""
    leaves: bool = False  # the old one was told to serve nobody, or does not any more

    def words(self) -> str:
        """What serves, on which database; whole sentences."""
        if self.serves:
            return f"{self.new} serves. {self.old} serves nobody any more, and leads visitors on."
        if self.leaves:
            return (
                f"{self.old} may serve nobody any more, and whether {self.new} serves already is"
                " not known here; both never do. The same command again finds out, and goes on."
            )
        if self.held:
            return (
                f"Visitors were waiting; {self.old} lets them go on by itself, within seconds,"
                " with its own database."
            )
        return (
            f"{self.old} goes on serving, with its own database, which was not touched."
        )
