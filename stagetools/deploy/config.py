"""deploy.toml: what each stage's server is, read strictly and written without loss."""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomlkit

from stagetools.deploy.backups import Backup, Keep
from stagetools.deploy.replicas import Replica
from stagetools.errors import ConfigError

__all__ = ["DOMAIN_MAX", "StageConfig", "bytes_in", "load", "remember", "uploads"]

# A domain becomes part of the path of a unix socket, which holds 107 bytes in all. unix(7)
DOMAIN_MAX = 80
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(?!-)[^\s@/]*")
_USER_AND_HOST = re.compile(r"(?!-)([^\s@]+)@([^\s@]+)")
_PLACEHOLDER = re.compile(r"(?:.*\.)?example\.(?:com|net|org)|.*\.example")
TLS = ("acme", "internal", "off")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|KB|MB|GB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_MEMORY_MIN = 64 * 10**6  # bytes; gunicorn and Django alone take some 60 MB
_PAGE = re.compile(r"/[^\s\x00-\x1f\x7f#]*")
# Each key's smallest and largest value.
_RANGES = {
    "port": (0, 65535),
    "workers": (0, 1000),
    "migration_limit": (0, 86400),
    "drain": (1, 86400),
    "processes": (32, 100_000),
}


def bytes_in(text: str) -> int:
    """The bytes of a size such as `100 MB`; ValueError for what is none."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    return int(float(found[1]) * _UNITS[(found[2] or "B").lower()])


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
    probe: tuple[str, ...] = ("/",)
    drain: int = 300
    max_body: str = "100 MB"
    memory: str = ""
    processes: int = 512
    rehearsal_network: bool = False
    live_restore: bool = True
    upload: tuple[str, ...] = ()
    backup: Backup = field(default_factory=Backup)
    replica: Replica = field(default_factory=Replica)

    @property
    def made_of(self) -> str:
        """The values that a release is made of, by name: if one changes, it is another release.

        How the server is reached, and how a change is made, are not among them.
        """
        return repr({name: getattr(self, name) for name in _OF_A_RELEASE})

    @property
    def max_body_bytes(self) -> int:
        """The largest request body, in bytes."""
        return bytes_in(self.max_body)

    @property
    def memory_bytes(self) -> int:
        """The memory of one container, in bytes; 0 where the server's RAM decides."""
        return bytes_in(self.memory) if self.memory else 0

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


_OF_A_RELEASE = (
    *("domains", "tls", "email", "acme_ca", "acme_ca_root"),
    *("workers", "max_body", "memory", "processes"),
)
_TABLES: dict[str, type] = {"backup": Backup, "keep": Keep, "replica": Replica}
"""Keys whose value is a table of its own."""


def _kinds(of: type) -> dict[str, type]:
    """Each key of a table, and the type of its value."""
    return {
        item.name: _TABLES.get(item.name) or type(item.default)
        for item in fields(of)
        if item.name != "stage_name"
    }


def load(path: Path, stage_name: str) -> StageConfig:
    """The configuration of one stage, or a ConfigError that says what to fix."""
    stages = _stages(path)
    if stage_name not in stages:
        raise ConfigError(
            f"{path.name} has no stage {stage_name!r}; it has {', '.join(stages)}.",
            remedy=f"Name one of them with --stage, or add [stages.{stage_name}].",
        )
    where = f"[stages.{stage_name}] of {path.name}"
    values = _typed(stages[stage_name], where, StageConfig)
    config = _checked(StageConfig(stage_name=stage_name, **values), where)
    _check_replicas(config, stages, where)
    return config


def uploads(path: Path) -> tuple[str, ...]:
    """What any stage of the file uploads although it looks like a secret; () without one."""
    if not path.is_file():
        return ()
    each = (table.get("upload", ()) for table in _stages(path).values())
    return tuple(one for many in each if isinstance(many, list) for one in many)


def _check_replicas(
    config: StageConfig, stages: dict[str, dict[str, Any]], where: str
) -> None:
    """Two databases at one place would each overwrite what the other has sent."""
    for name, table in stages.items():
        replica = table.get("replica")
        url = replica.get("url") if isinstance(replica, dict) else None
        if url and name != config.stage_name and url == config.replica.url:
            raise ConfigError(
                f"replica in {where} has the url of [stages.{name}].",
                remedy="Give each stage a folder of its own.",
            )


def _stages(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {path.name} in {path.parent}.",
            remedy="Run this in the project's own folder, which contains it.",
        ) from None
    except OSError as error:
        raise _not_ours(path, "read", error) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name} is not TOML: {error}.",
            remedy="Fix that line. Between <<<<<<< and >>>>>>> are your lines, and after"
            " ======= those of the template: keep yours.",
        ) from None
    _known(document, ("stages",), path.name)
    stages = document.get("stages")
    if not isinstance(stages, dict) or not all(
        isinstance(t, dict) for t in stages.values()
    ):
        raise ConfigError(f"{path.name} needs a table for each stage: [stages.prod].")
    return stages


def _typed(table: dict[str, Any], where: str, of: type) -> dict[str, Any]:
    kinds = _kinds(of)
    _known(table, tuple(kinds), where)
    return {key: _value(key, value, where, kinds[key]) for key, value in table.items()}


def _value(key: str, value: Any, where: str, kind: type) -> Any:
    if kind in _TABLES.values() and isinstance(value, dict):
        return kind(**_typed(value, f"{key} in {where}", kind))
    if kind is tuple and isinstance(value, list):
        if all(isinstance(one, str) for one in value):
            return tuple(value)
    elif type(value) is kind:
        return value
    wanted = {
        tuple: "a list of strings",
        int: "a whole number",
        bool: "true or false",
        str: "a string",
    }.get(kind, "a table")
    raise ConfigError(f"{key} in {where} must be {wanted}, not {value!r}.")


def _known(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise ConfigError(
                f"{where} has a key that is not known: {key}.",
                remedy=f"Did you mean {near[0]}?"
                if near
                else f"Known keys: {', '.join(known)}.",
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
    _check_numbers(config, where)
    _check_sizes(config, where)
    _check_pages(config, where)
    _check_uploads(config, where)
    config.backup.check(f"backup in {where}")
    config.replica.check(f"replica in {where}")
    if not _HOST.fullmatch(config.host):
        user, _, host = config.host.rpartition("@")
        remedy = f'Write user = "{user}" and host = "{host}".' if user else ""
        raise ConfigError(
            f"host in {where} is a name or an address; not {config.host!r}.",
            remedy=remedy or 'Such as host = "203.0.113.7".',
        )
    return config


def _check_numbers(config: StageConfig, where: str) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(config, name)
        if not least <= value <= most:
            raise ConfigError(
                f"{name} in {where} is a number from {least} to {most}; not {value}."
            )


def _check_sizes(config: StageConfig, where: str) -> None:
    least = {"max_body": 1, "memory": _MEMORY_MIN}
    for name, smallest in least.items():
        text = getattr(config, name)
        if name == "memory" and not text:
            continue
        try:
            enough = bytes_in(text) >= smallest
        except ValueError:
            enough = False
        if not enough:
            raise ConfigError(
                f"{name} in {where} is a size; not {text!r}.",
                remedy=f'Write a number and a unit, at least {smallest} B: {name} = "512 MB".',
            )


def _check_pages(config: StageConfig, where: str) -> None:
    for page in config.probe:
        if not _PAGE.fullmatch(page):
            raise ConfigError(
                f"probe in {where} has {page!r}, which is not a page of the site.",
                remedy='Write the path of each page: probe = ["/", "/shop/"].',
            )


def _check_uploads(config: StageConfig, where: str) -> None:
    for pattern in config.upload:
        if not pattern or pattern.startswith(("/", "./", "../")):
            raise ConfigError(
                f"upload in {where} has {pattern!r}, which is no path in the project.",
                remedy='Write it from the project\'s folder on: upload = ["certs/*.pem"].',
            )


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
) -> tuple[StageConfig, Callable[[], None]]:
    """Ask for the host where it is missing; and what keeps the answer in deploy.toml.

    It is for whoever has connected: a mistyped name is asked for again.
    """
    if config.host:
        return config, lambda: None
    host = ask("Which server? (a name, an address, or a Host of ~/.ssh/config)")
    if not host:
        raise ConfigError(
            f"[stages.{config.stage_name}] of {path.name} names no host.",
            remedy='Give one: host = "203.0.113.7".',
        )
    typed = _USER_AND_HOST.fullmatch(host)  # as one types it for ssh
    user, host = typed.groups() if typed else ("", host)
    answered = _checked(replace(config, host=host, user=user or config.user), path.name)
    answers = {"host": host, "user": user} if user else {"host": host}
    return answered, lambda: _keep(path, config.stage_name, answers)


def _keep(path: Path, stage_name: str, answers: dict[str, str]) -> None:
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        document["stages"][stage_name].update(answers)
        path.write_text(tomlkit.dumps(document), encoding="utf-8")
    except OSError as error:
        raise _not_ours(path, "written", error) from None


def _not_ours(path: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path.name} cannot be {what}: {error.strerror}.",
        remedy=f"Change the permissions of {path}.",
    )
