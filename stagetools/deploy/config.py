"""deploy.toml: what each stage's server is, read strictly and written without loss."""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomlkit

from stagetools.errors import ConfigError

__all__ = ["DOMAIN_MAX", "StageConfig", "load", "remember", "stage_names"]

# A domain becomes part of the path of a unix socket, which holds 107 bytes in all. unix(7)
DOMAIN_MAX = 80
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PLACEHOLDER = re.compile(r"(?:.*\.)?example\.(?:com|net|org)|.*\.example")
TLS = ("acme", "internal", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """The table `[stages.NAME]` of deploy.toml."""

    stage_name: str
    host: str = ""
    user: str = ""
    port: int = 0
    identity_file: str = ""
    domains: tuple[str, ...] = field(default=())
    tls: str = "acme"
    email: str = ""
    acme_ca: str = ""
    acme_ca_root: str = ""
    workers: int = 0
    migration_limit: int = 2

    @property
    def acme_root(self) -> str:
        """The certificate in the file `acme_ca_root`, or a ConfigError."""
        try:
            return Path(self.acme_ca_root).expanduser().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"acme_ca_root: {error}.") from None

    @property
    def url(self) -> str:
        """Where the stage is visited: its first domain, or the bare host."""
        scheme = "http" if self.tls == "off" else "https"
        return f"{scheme}://{self.domains[0]}"

    @property
    def placeholder_domains(self) -> tuple[str, ...]:
        """Domains of RFC 2606, which nobody can own and no authority certifies."""
        return tuple(name for name in self.domains if _PLACEHOLDER.fullmatch(name))


_KINDS: dict[str, type] = {
    item.name: type(item.default) if item.default is not MISSING else str
    for item in fields(StageConfig)
    if item.name != "stage_name"
}


def load(path: Path, stage_name: str) -> StageConfig:
    """The configuration of one stage, or a ConfigError that says what to mend."""
    stages = _stages(path)
    if stage_name not in stages:
        raise ConfigError(
            f"{path.name} has no stage {stage_name!r}; it has {', '.join(stages)}.",
            remedy=f"Name one of them with --stage, or add [stages.{stage_name}].",
        )
    where = f"[stages.{stage_name}] of {path.name}"
    return _checked(
        StageConfig(stage_name=stage_name, **_typed(stages[stage_name], where)), where
    )


def stage_names(path: Path) -> tuple[str, ...]:
    """The stages that deploy.toml knows, in its order."""
    return tuple(_stages(path))


def _stages(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {path.name} in {path.parent}.",
            remedy="Run this in the folder that holds it: the project's own.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not TOML: {error}.") from None
    _known(document, ("stages",), path.name)
    stages = document.get("stages")
    if not isinstance(stages, dict) or not all(
        isinstance(t, dict) for t in stages.values()
    ):
        raise ConfigError(f"{path.name} wants a table for each stage: [stages.prod].")
    return stages


def _typed(table: dict[str, Any], where: str) -> dict[str, Any]:
    _known(table, tuple(_KINDS), where)
    values: dict[str, Any] = {}
    for key, value in table.items():
        kind = _KINDS[key]
        if (
            kind is tuple
            and isinstance(value, list)
            and all(isinstance(v, str) for v in value)
        ):
            values[key] = tuple(value)
        elif kind is not tuple and type(value) is kind:
            values[key] = value
        else:
            wanted = {
                tuple: "a list of strings",
                int: "a whole number",
                str: "a string",
            }[kind]
            raise ConfigError(f"{key} in {where} must be {wanted}, not {value!r}.")
    return values


def _known(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise ConfigError(
                f"{where} has a key that is not known: {key}.",
                remedy=f"Did you mean {near[0]}?"
                if near
                else f"Known are {', '.join(known)}.",
            )


def _checked(config: StageConfig, where: str) -> StageConfig:
    if config.tls not in TLS:
        raise ConfigError(
            f"tls in {where} is one of {', '.join(TLS)}; not {config.tls!r}."
        )
    if not config.domains:
        raise ConfigError(
            f"{where} names no domain.", remedy='Give one: domains = ["example.com"].'
        )
    for domain in config.domains:
        if len(domain) > DOMAIN_MAX or not (
            _DOMAIN.fullmatch(domain) or _is_ipv4(domain)
        ):
            raise ConfigError(
                f"{domain!r} in {where} is not a domain.",
                remedy=f"Write it in lower case, without https:// or a path, in at most {DOMAIN_MAX} characters.",
            )
    if not 0 <= config.port <= 65535:
        raise ConfigError(
            f"port in {where} is a number up to 65535; not {config.port}."
        )
    if config.workers < 0:
        raise ConfigError(
            f"workers in {where} is a positive number; not {config.workers}."
        )
    if config.host.startswith("-") or any(c.isspace() for c in config.host):
        raise ConfigError(
            f"host in {where} is a name or an address; not {config.host!r}."
        )
    return config


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def remember(
    path: Path,
    config: StageConfig,
    *,
    ask: Callable[[str], str | None],
    write: bool = True,
) -> StageConfig:
    """Ask for the host where it is missing, and keep the answer in deploy.toml."""
    if config.host:
        return config
    host = ask("Which server? (a name, an address, or a Host of ~/.ssh/config)")
    if not host:
        raise ConfigError(
            f"[stages.{config.stage_name}] of {path.name} names no host.",
            remedy='Give one: host = "203.0.113.7".',
        )
    answered = _checked(replace(config, host=host), path.name)
    if not write:
        return answered
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["stages"][config.stage_name]["host"] = host
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return answered
