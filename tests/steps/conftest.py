"""What every step starts from: a layout, a configuration, a server that was looked at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from stagetools.deploy.commands import compose
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Container, Facts, Record
from stagetools.deploy.host.host import Host
from stagetools.deploy.host.site import Site
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import backup, proxy
from stagetools.errors import StageError
from stagetools.utils import get_expected_system_from_name
from tests.steps.scripted import builders, remembered

OLD = "20260131-070000-0000000"


@pytest.fixture(autouse=True)
def remembered_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command know what it was made of."""
    for module, name, builder in builders():
        monkeypatch.setattr(module, name, remembered(builder))


@pytest.fixture
def layout() -> Layout:
    return Layout(get_expected_system_from_name("shop_prod"))


@pytest.fixture
def config() -> StageConfig:
    return StageConfig(
        stage_name="prod", host="203.0.113.7", domains=("shop.test",), tls="internal"
    )


@pytest.fixture
def at(layout: Layout, config: StageConfig) -> Callable[..., Site]:
    """The installation on a host, with some of its configuration otherwise."""

    def at(host: Host, /, **otherwise: Any) -> Site:
        return Site(host, layout, replace(config, **otherwise))

    return at


@pytest.fixture
def bare() -> Facts:
    """A server on which nothing was ever done."""
    return Facts(
        os="debian", os_version="13", os_codename="trixie",
        now="20260131-080000", newest="",
        cores=2, memory=2**31, disk_free=10 * 2**30, disk_size=20 * 2**30, systemd=True,
        uid="", gid="", env="", home_is_roots=False, domains=(), release="", record=None,
        data_dir=PurePosixPath("/home/shop_prod/data"), overlays="",
        proxy="", proxy_version=0, authority="", taken_ports=(), database=0,
        engine="", docker="", compose="", buildx=False, containers=(),
    )  # fmt: skip


@pytest.fixture
def ready(bare: Facts) -> Facts:
    """A server with Docker, the account and the proxy, and no release yet."""
    return replace(
        bare, uid="998", gid="997", env="5e", home_is_roots=True, overlays=compose.OVERLAYS,
        engine="1 live-restore", docker="28.0", compose="2.33", buildx=True,
        proxy=_current_proxy(), proxy_version=proxy.VERSION,
        proxy_runs=True, authority="cert_issuer internal",
    )  # fmt: skip


@pytest.fixture
def deployed(ready: Facts, at: Callable[..., Site]) -> Facts:
    """A server on which `OLD` serves."""
    return replace(
        ready,
        backups=backup.wanted(at(None)),
        release=OLD,
        newest=OLD,
        domains=("shop.test",),
        record=Record(release=OLD, fingerprint="f", who="w", commit="c", at="t"),
        containers=(Container("old-id", "shop_prod", OLD, "running", "Up 3 minutes"),),
        database=4096,
    )


def printed(facts: Facts) -> str:
    """What `look` prints of such a server."""
    values = {
        **{key: getattr(facts, key) for key in _PRINTED},
        "memory_kb": facts.memory // 1024,
        "disk_free_kb": facts.disk_free // 1024,
        "disk_size_kb": facts.disk_size // 1024,
        "systemd": "yes" if facts.systemd else "",
        "home_is_roots": "yes" if facts.home_is_roots else "",
        "buildx": "yes" if facts.buildx else "",
        "domains": " ".join(facts.domains),
        "uncertified": " ".join(facts.uncertified),
        "claimed": " ".join(f"{domain}=../sites/{of}" for domain, of in facts.claimed),
        "taken_ports": " ".join(facts.taken_ports),
        "proxy_runs": "yes" if facts.proxy_runs else "",
        "engine": facts.engine,
        "authority": facts.authority.replace("\n", "|"),
        "record": facts.record.to_json() if facts.record else "",
    }
    lines = [f"{key}={value}" for key, value in values.items()]
    lines += [
        f"container={c.id} {c.system} {c.release} {c.state} {c.status}"
        for c in facts.containers
    ]
    return "".join(f"{line}\n" for line in lines)


_PRINTED = (
    *("os", "os_version", "os_codename", "now", "newest", "cores", "uid", "gid", "env"),
    *("release", "data_dir", "overlays", "proxy", "proxy_version", "database"),
    *("docker", "compose", "backups", "replica", "moved", "arriving"),
)


def _current_proxy() -> str:
    import hashlib

    return hashlib.sha256(b"".join(proxy._files().values())).hexdigest()


@pytest.fixture
def refused() -> Callable[..., StageError]:
    """Hold a refusal of a step to its parts, and return it.

    What is untouched is worded where it is known: by the change that the step is part of.
    """

    def refused(action: Callable[..., Any], *words: Any, **options: Any) -> StageError:
        with pytest.raises(StageError) as caught:
            action(*words, **options)
        error = caught.value
        assert error.what.endswith((".", "?"))
        assert not error.untouched or error.untouched.endswith(".")
        assert error.remedy
        return error

    return refused
