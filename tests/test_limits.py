"""Numbers that depend on each other, wherever they are written."""

import re
from importlib import resources
from pathlib import Path

import yaml

from stagetools import gunicorn_conf
from stagetools.deploy.config import DOMAIN_MAX, StageConfig
from stagetools.deploy.layout import WEB_DIR, Layout
from stagetools.deploy.limits import CONNECT, HEALTH, HOLD, KEEP, LOCK, SHUTDOWN
from stagetools.utils import get_expected_system_from_name

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "template/compose.yaml").read_text())
PROXY = resources.files("stagetools.deploy") / "proxy"
CADDYFILE = (PROXY / "Caddyfile").read_text()
DRAIN = StageConfig(stage_name="prod", domains=("a.test",)).drain  # unless said
SOCKET_MAX = 107  # bytes. unix(7)


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def test_gunicorn_has_as_long_as_the_limits_say() -> None:
    assert gunicorn_conf.graceful_timeout == SHUTDOWN.graceful


def test_docker_waits_longer_than_gunicorn() -> None:
    grace = seconds(COMPOSE["services"]["web"]["stop_grace_period"])
    assert grace == SHUTDOWN.grace
    assert grace > SHUTDOWN.graceful


def test_a_request_that_gunicorn_allows_is_waited_for() -> None:
    assert gunicorn_conf.timeout <= DRAIN


def test_the_proxy_lets_its_own_requests_finish() -> None:
    proxy = yaml.safe_load((PROXY / "compose.yaml").read_text())
    stop = seconds(proxy["services"]["caddy"]["stop_grace_period"])
    delay = re.search(r"shutdown_delay (\d+s)", CADDYFILE)
    grace = re.search(r"grace_period (\d+s)", CADDYFILE)
    assert delay
    assert grace
    assert seconds(grace[1]) >= gunicorn_conf.timeout
    assert stop > seconds(delay[1]) + seconds(grace[1])


def test_visitors_wait_at_the_proxy_for_longer_than_a_change_on_a_copy() -> None:
    soon, held = re.findall(r"import ask (?:@unheld|\*) (\d+s)", CADDYFILE)
    assert seconds(held) >= HOLD.proxy
    assert seconds(soon) == HOLD.start < 15
    assert HOLD.drain + HOLD.change < HOLD.at_most < HOLD.proxy


def test_a_lost_connection_is_noticed_after_several_signs_of_life() -> None:
    assert LOCK.silence >= 3 * LOCK.beat
    assert CONNECT.keepalive < LOCK.silence


def test_a_health_check_is_patient_but_not_with_a_person() -> None:
    assert HEALTH.status < 10 < HEALTH.start
    assert HEALTH.refusals > 1


def test_there_is_always_a_way_back() -> None:
    assert KEEP.releases >= 2
    assert KEEP.snapshots >= 2


def test_the_longest_name_fits_a_unix_sockets_path() -> None:
    release = "20260131-080000-abcdef0"
    longest = f"{WEB_DIR}/hosts/{'a' * DOMAIN_MAX}/current.sock"
    assert len(longest.replace(str(WEB_DIR), "/web")) <= SOCKET_MAX
    own = Layout(get_expected_system_from_name(f"{'a' * 27}_prod")).socket(release)
    assert len(str(own)) <= SOCKET_MAX


def test_the_caddyfile_knows_the_places_of_the_layout() -> None:
    layout = Layout(get_expected_system_from_name("shop_prod"))
    assert layout.current.name in CADDYFILE
    assert "unix//web/hosts/{http.request.host}/" in CADDYFILE
