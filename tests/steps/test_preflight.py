"""What stands in the way is said before anything is done."""

import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from stagetools.deploy.commands import compose, server
from stagetools.deploy.steps import preflight
from stagetools.errors import UsageError
from tests.steps.scripted import ScriptedHost

ROOT = Path(__file__).parents[2]
ADDRESSES = server.addresses().text
RESOLVE = server.resolve("shop.test").text


@pytest.mark.parametrize("domain", ["example.com", "www.example.org", "a.b.example"])
def test_a_placeholder_is_not_sent_to_an_authority(config, domain: str) -> None:
    acme = replace(config, tls="acme", domains=("shop.test", domain))
    with pytest.raises(UsageError, match=f"{domain} is a placeholder") as caught:
        preflight.refuse_placeholders(acme)
    assert 'tls = "internal"' in caught.value.remedy


@pytest.mark.parametrize("how", [{"tls": "internal"}, {"tls": "off"}, {"acme_ca": "x"}])
def test_without_a_public_authority_a_placeholder_will_do(config, how) -> None:
    preflight.refuse_placeholders(
        replace(config, domains=("example.com",)) if "tls" in how
        else replace(config, tls="acme", domains=("example.com",), **how)
    )  # fmt: skip


def test_a_disk_with_room_is_fine(ready, deployed) -> None:
    preflight.refuse_full_disk(ready)
    preflight.refuse_full_disk(deployed)


def test_a_first_deploy_needs_more_than_the_next(ready, deployed, refused) -> None:
    error = refused(preflight.refuse_full_disk, replace(ready, disk_free=10**9))
    assert "has 1.0 GB free; this deploy may need 1.5 GB." in error.what
    preflight.refuse_full_disk(replace(deployed, disk_free=10**9))


def test_room_for_two_copies_of_the_database_is_asked_for(deployed, refused) -> None:
    big = replace(deployed, disk_free=10**9, database=400 * 10**6)
    assert "1.1 GB" in refused(preflight.refuse_full_disk, big).what


@pytest.fixture
def acme(at):
    """A host whose name no resolver of this machine is asked for."""
    return partial(at, tls="acme", host="203.0.113.7")


def test_dns_is_not_asked_where_no_authority_asks_it(at, ready) -> None:
    preflight.refuse_wrong_dns(at(ScriptedHost({})), ready)


def test_dns_is_not_asked_for_a_domain_that_is_served(acme, deployed) -> None:
    host = ScriptedHost({ADDRESSES: "203.0.113.7 172.17.0.1 \n"})
    preflight.refuse_wrong_dns(acme(host), deployed)


@pytest.mark.parametrize("own", ["203.0.113.7 \n", "10.0.0.5 \n"])
def test_a_domain_that_leads_here_is_fine_also_behind_a_translated_address(
    acme, ready, own: str
) -> None:
    host = ScriptedHost({ADDRESSES: own, RESOLVE: "203.0.113.7\n"})
    assert preflight.refuse_wrong_dns(acme(host), ready) == {"203.0.113.7"}
    assert host.ran == [ADDRESSES, RESOLVE]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("198.51.100.1\n2001:db8::1\n", "shop.test points to 198.51.100.1, 2001:db8::1, not to this server"),
        ("", "shop.test is not in DNS: no certificate"),
    ],
)  # fmt: skip
def test_a_domain_that_leads_elsewhere_is_refused(
    acme, ready, refused, there: str, words: str
) -> None:
    host = ScriptedHost({ADDRESSES: "203.0.113.7\n", RESOLVE: there})
    error = refused(preflight.refuse_wrong_dns, acme(host), ready)
    assert words in error.what
    assert error.untouched == "Nothing was changed."


def test_a_domain_of_another_site_is_refused_before_anything_is_built(
    at, ready, refused
) -> None:
    """At the switch it would be too late: the live database is migrated by then."""
    claimed = (("a.test", "shop_prod"), ("shop.test", "blog_prod"))
    facts = replace(ready, claimed=claimed)
    error = refused(preflight.refuse_taken_domains, at(ScriptedHost({})), facts)
    assert error.what == "shop.test belongs to blog_prod on this server."
    assert error.untouched == "Nothing was changed."
    assert "blog_prod" in error.remedy


def test_a_domain_of_ones_own_or_of_nobody_is_fine(at, ready) -> None:
    own = at(ScriptedHost({}), domains=("shop.test", "new.test"))
    facts = replace(
        ready, claimed=(("shop.test", "shop_prod"), ("b.test", "blog_prod"))
    )
    preflight.refuse_taken_domains(own, facts)


def test_a_command_that_still_writes_keeps_the_database_from_being_replaced(
    at, layout, refused
) -> None:
    managing = compose.managing(layout).text
    host = ScriptedHost(
        {managing: ["import_birds (container a)\nshell (container b)\n", ""]}
    )
    error = refused(preflight.refuse_running_commands, at(host))
    assert "import_birds (container a), shell (container b)." in error.what
    preflight.refuse_running_commands(at(host))


def no_question(question: str) -> None:
    raise AssertionError(question)


def test_ports_on_which_nobody_listens_yet_are_no_question() -> None:
    preflight.ask_about_closed_ports({"127.0.0.1"}, no_question)


def test_without_a_new_domain_no_port_is_tried() -> None:
    preflight.ask_about_closed_ports(set(), no_question)


def test_a_listener_lets_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert preflight._lets_in("127.0.0.1", server.getsockname()[1])


# --- other services -------------------------------------------------------------------

COMPOSE = (ROOT / "template/compose.yaml").read_text()
REDIS = "  redis: # a cache\n    image: redis:8\n"


def test_a_project_as_it_is_rendered_is_deployed(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    preflight.refuse_other_services(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        COMPOSE + REDIS,
        COMPOSE + "\n# mine\n" + REDIS + "volumes:\n  kept:\n",
        "services:\n" + REDIS + COMPOSE.partition("services:\n")[2],
        COMPOSE + REDIS.replace("redis:", '"redis":', 1),
        "services:\n\n    # four\n    web:\n        build: .\n    redis:\n        image: r\n",
    ],
)
def test_a_service_that_nobody_would_start_is_told_where_it_belongs(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(UsageError, match="has redis, and inv deploy") as caught:
        preflight.refuse_other_services(tmp_path)
    assert "compose.override.yaml" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "volumes:\n  redis:\n",
        COMPOSE + REDIS + "    profiles: [dev]\n",
        COMPOSE + "".join(f"#{line}\n" for line in REDIS.splitlines()),
        COMPOSE + "volumes:\n  kept:\n",
    ],
)
def test_what_is_not_to_be_started_is_fine(tmp_path: Path, text: str) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    preflight.refuse_other_services(tmp_path)
