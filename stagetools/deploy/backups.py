"""The table `[stages.NAME.backup]` of deploy.toml, and how a server's backups stand."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stagetools.errors import ConfigError

__all__ = [
    "NEVER",
    "SLACK",
    "Backup",
    "Keep",
    "Result",
    "Timer",
    "Watch",
    "parse_watch",
]

NEVER = "never"
_INTERVAL = re.compile(r"(\d+) (minute|hour|day|week)s?")
_ELSEWHERE = re.compile(r"(sftp|s3|rest|b2|azure|gs|swift|rclone):[!-~]+")
_MOST = {"days": 3660, "weeks": 522, "months": 120}  # ten years of each
_FIRST, _LAST = (
    1,
    5,
)  # o'clock, by the server's clock: when most sites have few visitors
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LATE = 1.5  # intervals, after which a backup or a drill is late
SLACK = 300  # seconds that clocks differ, as in scripts/backup.sh


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many backups stay: the last one of each of so many days, weeks and months."""

    days: int = 7
    weeks: int = 4
    months: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """When backups are made, and how many are kept."""

    every: str = "1 day"
    keep: Keep = field(default_factory=Keep)
    to: str = ""  # a repository elsewhere, beside the one on the server

    def calendar(self, name: str) -> str:
        """When, as systemd.time(7) writes it; nothing for `never`.

        The minute follows from the installation's name, so that not all sites of a server
        begin at once.
        """
        if self.every == NEVER:
            return ""
        minute, hour = _minute(name), _hour(name)
        found = _INTERVAL.fullmatch(self.every)
        if not found:
            return self.every
        count, unit = int(found[1]), found[2]
        return {
            "minute": f"*-*-* *:{minute % max(count, 1):02}/{count}:00",
            "hour": f"*-*-* {hour % max(count, 1):02}/{count}:{minute:02}:00",
            "day": f"*-*-{'*' if count == 1 else f'01/{count}'} {hour:02}:{minute:02}:00",
            "week": f"{_weekday(name)} *-*-* {hour:02}:{minute:02}:00",
        }[unit]

    def drills(self, name: str) -> str:
        """When a drill is made: once a week, hours after the night's backup."""
        if self.every == NEVER:
            return ""
        return f"{_weekday(name)} *-*-* {_hour(name) + _LAST:02}:{_minute(name):02}:00"

    def check(self, where: str) -> None:
        """Raise ConfigError for what cannot be meant."""
        for unit, most in _MOST.items():
            if not 0 <= (count := getattr(self.keep, unit)) <= most:
                raise ConfigError(
                    f"keep.{unit} in {where} is a number from 0 to {most}; not {count}."
                )
        if self.to and not _ELSEWHERE.fullmatch(self.to):
            raise ConfigError(
                f"to in {where} is a restic repository elsewhere; not {self.to!r}.",
                remedy='Write to = "sftp:user@host:/folder", or to = "s3:https://server/bucket".',
            )
        if re.search(r"//[^/]*:[^/]*@", self.to):
            raise ConfigError(
                f"to in {where} has a password, which everybody would see.",
                remedy="Write to without it, and type inv env.set RESTIC_REST_USERNAME"
                " RESTIC_REST_PASSWORD.",
            )
        if not any(getattr(self.keep, unit) for unit in _MOST):
            raise ConfigError(
                f"keep in {where} keeps no backup.", remedy="Write keep = { days = 7 }."
            )
        if (found := _INTERVAL.fullmatch(self.every)) and not _divides(*found.groups()):
            raise ConfigError(
                f"every in {where} cannot be {self.every!r}: no timer comes round in it.",
                remedy="Write minutes that divide an hour, hours that divide a day, up to 28"
                ' days, or 1 week: every = "6 hours".',
            )
        if not self.every or re.search(r"[^ -~]", self.every):
            raise ConfigError(
                f"every in {where} is an interval, an OnCalendar expression of systemd, or"
                f" never; not {self.every!r}.",
                remedy='Write every = "1 day".',
            )


def _divides(count: str, unit: str) -> bool:
    number = int(count)
    round_ = {"minute": 60, "hour": 24, "week": 1}.get(unit)
    return 0 < number <= 28 if round_ is None else number > 0 and round_ % number == 0


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _minute(name: str) -> int:
    return _digest(name) % 60


def _hour(name: str) -> int:
    return _FIRST + _digest(name) // 60 % (_LAST - _FIRST)


def _weekday(name: str) -> str:
    return _WEEKDAYS[_digest(name) // 3600 % 7]


# --- how they stand on a server -----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of the last backup, or of the last drill. Times in seconds since 1970."""

    began: int = 0
    ended: int = 0
    good: int = 0  # when one ended well for the last time
    said: str = ""  # why the last one failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """When the server makes the next one by itself."""

    runs: bool = False
    next: int = 0
    gap: int = 0  # seconds, the longest between two


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How the backups of an installation stand."""

    now: int
    since: int  # when they were set up; 0 where they never were
    busy: bool = False  # a backup or a drill is being made
    wanted: bool = True  # by a timer; deploy.toml of the last deploy said so
    unfinished: bool = (
        False  # what `inv deploy --restore` needs is there, and no timer yet
    )
    ahead: int = 0  # backups that are dated in the future
    elsewhere: int | None = None  # when one was sent there, 0 never; None: nowhere to
    backup: Result = field(default_factory=Result)
    drill: Result = field(default_factory=Result)
    timer: Timer = field(default_factory=Timer)
    drill_timer: Timer = field(default_factory=Timer)

    def troubles(self) -> list[str]:
        """What is wrong, in words; nothing where all is well."""
        if self.unfinished:
            return ["inv deploy --restore was cut off before their timer was there"]
        found = [
            *self._of("backup", self.backup, self.timer),
            *self._of("drill", self.drill, self.drill_timer),
        ]
        if self.ahead:
            are = "1 backup is" if self.ahead == 1 else f"{self.ahead} backups are"
            found += [f"{are} dated in the future, so no old one is removed"]
        return found if self.since else []

    def _of(self, what: str, last: Result, timer: Timer) -> list[str]:
        if last.ended and last.said:
            return [f"the last {what} failed: {last.said}"]
        if last.began and not last.ended and not self.busy:
            return [f"the last {what} was cut off"]
        if self.wanted and not timer.runs:
            return [f"the timer of the {what}s does not run"]
        if last.good > self.now + SLACK:
            return [f"the last {what} is dated in the future: was the clock put back?"]
        since = last.good or self.since
        if self.wanted and timer.gap and self.now - since > _LATE * timer.gap:
            return [f"the last {what} is late"]
        return []


def parse_watch(text: str) -> Watch:
    """What `commands.backup.repository.watch` printed."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Watch(
        now=_number(values, "now"),
        since=_number(values, "since"),
        busy=values.get("busy") == "yes",
        wanted=values.get("wanted") == "yes",
        unfinished=values.get("unfinished") == "yes",
        ahead=_number(values, "ahead"),
        elsewhere=_number(values, "elsewhere") if "elsewhere" in values else None,
        backup=_result(values, "backup"),
        drill=_result(values, "drill"),
        timer=_timer(values, "backup"),
        drill_timer=_timer(values, "drill"),
    )


def _number(values: Mapping[str, str], key: str) -> int:
    text = values.get(key, "")
    return int(text) if text.isdecimal() else 0


def _result(values: Mapping[str, str], of: str) -> Result:
    return Result(
        began=_number(values, f"{of}.began"),
        ended=_number(values, f"{of}.ended"),
        good=_number(values, f"{of}.good"),
        said=values.get(f"{of}.said", ""),
    )


def _timer(values: Mapping[str, str], of: str) -> Timer:
    return Timer(
        runs=values.get(f"{of}.timer") == "active",
        next=_number(values, f"{of}.next"),
        gap=_number(values, f"{of}.gap"),
    )
