"""Values of an installation: from the environment, its settings file, or a default.

The file is INI, named by STAGETOOLS_CONFIG or else /etc/<core_repo>/settings.ini. Sections
are for the reader's eye alone; a name is upper case in the environment and in any case in
the file. Nothing here needs Django.
"""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagetools.errors import ConfigError

__all__ = ["ETC", "VARIABLE", "Config"]

ETC = Path("/etc")
VARIABLE = "STAGETOOLS_CONFIG"
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Config:
    """The environment in front of a settings file; `repr` shows no value."""

    path: Path
    file: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    is_named: bool = False
    """Whether STAGETOOLS_CONFIG named the file, which must then be there."""

    @classmethod
    def of(
        cls, core_repo: str, environment: Mapping[str, str] = os.environ
    ) -> "Config":
        """Read a project's file. ConfigError if one is named, or there, and unreadable."""
        named = environment.get(VARIABLE)
        path = Path(named) if named else ETC / core_repo / "settings.ini"
        return cls(path, _read(path, must=bool(named)), environment, bool(named))

    def find(self, name: str) -> str | None:
        """The value as it was given, also where it is empty; None if nowhere."""
        return self.environment.get(name, self.file.get(name))

    def text(self, name: str, default: str = "") -> str:
        """A value without the space around it."""
        value = self.find(name)
        return default if value is None else value.strip()

    def words(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """A list, parted at commas and line ends."""
        value = self.find(name)
        if value is None:
            return list(default)
        parts = value.replace("\n", ",").split(",")
        return [part.strip() for part in parts if part.strip()]

    def flag(self, name: str, *, default: bool) -> bool:
        """On or off, in any of their usual spellings; ConfigError for another."""
        word = self.text(name, "on" if default else "off").lower()
        if word in (*_YES, *_NO):
            return word in _YES
        raise self.refusal(name, f"is {word!r}", "Write `on` or `off`")

    def number(self, name: str, default: int) -> int:
        """A whole number; ConfigError for anything else."""
        word = self.text(name, str(default))
        try:
            return int(word)
        except ValueError:
            raise self.refusal(name, f"is {word!r}", "Write a whole number") from None

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """One of the words in `allowed`, in any case; ConfigError for another."""
        found = self.text(name, default)
        for word in allowed:
            if found.lower() == word.lower():
                return word
        raise self.refusal(name, f"is {found!r}", f"Write one of {', '.join(allowed)}")

    def directory(self, name: str, default: Path) -> Path:
        """A path, with `~` as the home directory."""
        value = self.text(name)
        return Path(value).expanduser() if value else default

    def refusal(self, name: str, problem: str, remedy: str) -> ConfigError:
        """The error that names a variable, and both places to set it."""
        where = f"in the environment or in {self.path}"
        return ConfigError(f"{name} {problem}.", remedy=f"{remedy}, {where}.")


def _read(path: Path, *, must: bool) -> dict[str, str]:
    """Every name of an INI file, upper case, whichever its section."""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    parser.optionxform = str.upper  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        if must:
            raise ConfigError(
                f"{VARIABLE} names {path}, which is not there.",
                remedy=f"Create it, or unset {VARIABLE}.",
            ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            remedy=f"Run as an account that may, or name another file in {VARIABLE}.",
        ) from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not an INI file: {type(error).__name__}.",
            remedy="Write a line `[settings]`, then lines such as `LOG_LEVEL = INFO`.",
        ) from None
    return {
        name: value for section in parser.values() for name, value in section.items()
    }
