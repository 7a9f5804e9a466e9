"""What every step starts from: a layout, a configuration, a server that was looked at."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Container, Facts, Record
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import proxy
from stagetools.errors import StageError
from stagetools.utils import get_expected_system_from_name

OLD = "20260131-070000-0000000"


@pytest.fixture
def layout() -> Layout:
    return Layout(get_expected_system_from_name("shop_prod"))


@pytest.fixture
def config() -> StageConfig:
    return StageConfig(
        stage_name="prod", host="203.0.113.7", domains=("shop.test",), tls="internal"
    )


@pytest.fixture
def bare() -> Facts:
    """A server on which nothing was ever done."""
    return Facts(
        os="debian", os_version="13", os_codename="trixie",
        now="20260131-080000", newest="",
        cores=2, memory=2**31, disk_free=10 * 2**30, disk_size=20 * 2**30, systemd=True,
        uid="", gid="", env="", home_is_roots=False, data_dir="", domains=(), release="", record=None,
        proxy="", proxy_version=0, authority="", taken_ports=(), database=0,
        engine="", docker="", compose="", buildx=False, containers=(),
    )  # fmt: skip


@pytest.fixture
def ready(bare: Facts) -> Facts:
    """A server with Docker, the account and the proxy, and no release yet."""
    return replace(
        bare, uid="998", gid="997", env="5e", home_is_roots=True, engine="1 live-restore", docker="28.0", compose="2.33", buildx=True,
        proxy=_current_proxy(), proxy_version=proxy.VERSION,
        proxy_runs=True, authority="cert_issuer internal",
    )  # fmt: skip


@pytest.fixture
def deployed(ready: Facts) -> Facts:
    """A server on which `OLD` serves."""
    return replace(
        ready,
        release=OLD,
        newest=OLD,
        domains=("shop.test",),
        record=Record(release=OLD, fingerprint="f", who="w", commit="c", at="t"),
        containers=(Container("old-id", "shop_prod", OLD, "running", "Up 3 minutes"),),
        database=4096,
    )


def _current_proxy() -> str:
    import hashlib

    return hashlib.sha256(b"".join(proxy._files().values())).hexdigest()


@pytest.fixture
def refused() -> Callable[..., StageError]:
    """Hold a refusal to its three parts, and return it."""

    def refused(action: Callable[..., Any], *words: Any, **options: Any) -> StageError:
        with pytest.raises(StageError) as caught:
            action(*words, **options)
        error = caught.value
        assert error.what.endswith((".", "?"))
        assert error.untouched.endswith(".")
        assert error.remedy
        return error

    return refused
