"""The proxy: started once, its domains claimed, its refusals told."""

import gzip
import hashlib
from dataclasses import replace

import pytest

from stagetools.deploy.commands import proxy as commands
from stagetools.deploy.commands import traffic
from stagetools.deploy.config import StageConfig
from stagetools.deploy.limits import HEALTH
from stagetools.deploy.steps import proxy
from tests.steps.scripted import ScriptedHost, failure


def quiet(line: str) -> None: ...


def acme(**values: str) -> StageConfig:
    return StageConfig(stage_name="prod", domains=("shop.test",), **values)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (acme(tls="off"), ""),
        (acme(tls="internal"), "cert_issuer internal"),
        (acme(), "# Caddy's own choice of ACME authorities"),
        (acme(email="a@b.test"), "email a@b.test"),
        (acme(acme_ca="https://ca.test/dir"), "acme_ca https://ca.test/dir"),
        (acme(email="a@b.test", acme_ca="x"), "email a@b.test\nacme_ca x"),
    ],
)
def test_how_certificates_are_made_is_said_in_caddys_words(
    config: StageConfig, words: str
) -> None:
    assert proxy.authority(config) == words


def test_a_proxy_that_is_as_it_should_be_is_not_touched(at, ready) -> None:
    outcome = proxy.ensure_proxy(at(ScriptedHost({})), ready, quiet)
    assert not outcome.changed


@pytest.mark.parametrize(
    "other",
    [
        {"proxy": "other"},
        {"proxy_runs": False},
        {"authority": ""},
        {"follows_links": True},
    ],
)
def test_a_proxy_that_is_not_is_made_so(at, ready, other) -> None:
    command = commands.ensure("cert_issuer internal", proxy.VERSION).text
    host = ScriptedHost({command: ""})
    assert proxy.ensure_proxy(at(host), replace(ready, **other), quiet).changed
    assert b"Caddyfile" in gzip.decompress(host.sent[command])


def test_the_newer_files_of_another_project_stay(at, ready, config) -> None:
    facts = replace(ready, proxy="other", proxy_version=proxy.VERSION + 1)
    assert not proxy.ensure_proxy(at(ScriptedHost({})), facts, quiet).changed
    assert not proxy.is_ready(replace(facts, proxy_version=0), config)


def test_a_change_of_the_files_comes_with_a_version_of_their_own() -> None:
    """Without one, two projects of a server would put each other's files back for ever."""
    digest = hashlib.sha256(b"".join(proxy._files().values())).hexdigest()
    assert (proxy.VERSION, digest[:16]) == (4, "b2d724a31a953fdc")


def test_a_stage_without_certificates_needs_no_authority(ready, config) -> None:
    off = replace(config, tls="off")
    assert proxy.is_ready(replace(ready, authority=""), off)


def test_another_program_on_the_ports_is_named_and_left_alone(
    at, ready, refused
) -> None:
    facts = replace(ready, proxy_runs=False, taken_ports=("apache2", "nginx"))
    error = refused(proxy.ensure_proxy, at(ScriptedHost({})), facts, quiet)
    assert "apache2, nginx" in error.what


def test_another_caddy_beside_ours_is_named_and_left_alone(
    at, ready, config, refused
) -> None:
    """Half of all visitors would come to each."""
    facts = replace(ready, taken_ports=("caddy",))
    assert not proxy.is_ready(facts, config)
    error = refused(proxy.ensure_proxy, at(ScriptedHost({})), facts, quiet)
    assert "port 80 or 443: caddy." in error.what


def test_a_proxy_that_does_not_start_says_what_stays(at, ready, refused) -> None:
    command = commands.ensure("cert_issuer internal", proxy.VERSION).text
    host = ScriptedHost({command: failure("Error: line 3", status=commands.REFUSED)})
    facts = replace(ready, proxy="old")
    error = refused(proxy.ensure_proxy, at(host), facts, quiet)
    assert "a proxy that ran before goes on" in error.untouched
    assert error.__cause__.output == "Error: line 3"  # type: ignore[union-attr]


def claim(layout, config) -> str:
    return proxy.claim(layout, config).text


def test_a_domain_of_another_installation_is_told_with_its_owner(
    at, ready, layout, config, refused
) -> None:
    said = failure("shop.test blog_prod", status=traffic.TAKEN)
    host = ScriptedHost({claim(layout, config): said})
    error = refused(proxy.claim_domains, at(host), ready)
    assert error.what == "shop.test belongs to blog_prod on this server."


@pytest.mark.parametrize(
    ("status", "words"),
    [(commands.REFUSED, "refuses the site's"), (1, "could not be renewed with")],
)
def test_a_snippet_that_comes_to_nothing_says_why(
    at, ready, layout, config, refused, status: int, words: str
) -> None:
    facts = replace(ready, authority="email a@b.test")
    snippet = commands.except_site(layout, proxy.exception(facts, config)).text
    script = {claim(layout, config): "", snippet: failure("Error", status=status)}
    error = refused(proxy.claim_domains, at(ScriptedHost(script)), facts)
    assert words in error.what


def test_a_stage_like_the_servers_first_needs_no_snippet(ready, config) -> None:
    assert proxy.exception(ready, config) == ""
    assert proxy.exception(ready, replace(config, tls="off")) == ""
    assert (
        proxy.exception(
            replace(ready, authority="email a@b.test"), acme(email="a@b.test")
        )
        == ""
    )


def test_an_exception_names_every_domain_and_its_issuer(ready, config) -> None:
    facts = replace(ready, authority="email a@b.test")
    two = replace(config, domains=("a.test", "b.test"))
    snippet = proxy.exception(facts, two)
    assert snippet.startswith("https://a.test, https://b.test {")
    assert "issuer internal" in snippet


def test_an_exception_has_the_stages_own_authority(ready, tmp_path) -> None:
    """What a bare `issuer acme` leaves unsaid, Caddy takes from the server's authority."""
    facts = replace(ready, authority="acme_ca https://first.test\nacme_ca_root /r.pem")
    (tmp_path / "root.pem").write_text("-----BEGIN CERTIFICATE-----")
    own = acme(
        email="a@b.test",
        acme_ca="https://ca.test/dir",
        acme_ca_root=str(tmp_path / "root.pem"),
    )
    lines = [line.strip() for line in proxy.exception(facts, own).splitlines()]
    begin = lines.index("issuer acme {")
    assert lines[begin + 1 : begin + 3] == ["dir https://ca.test/dir", "email a@b.test"]
    assert lines[begin + 3] == f"trusted_roots {proxy._root_path(own)}"
    assert proxy._root(own) == (
        proxy._root_path(own).removeprefix("/etc/caddy/"),
        "-----BEGIN CERTIFICATE-----",
    )
    plain = proxy.exception(facts, acme())
    assert "dir https://acme-v02.api.letsencrypt.org/directory" in plain
    assert "trusted_roots /etc/ssl/certs/ca-certificates.crt" in plain


def test_each_domain_is_visited_once(at) -> None:
    two = ("a.test", "b.test")
    visits = [
        commands.visit("new-id", f"https://{name}", HEALTH.certificate).text
        for name in two
    ]
    host = ScriptedHost(dict.fromkeys(visits, ""))
    assert proxy.visit(at(host, domains=two), "R1", "new-id").changed
    assert host.ran == visits


def test_a_domain_that_does_not_answer_is_told_with_its_answer(at, refused) -> None:
    visit = commands.visit("new-id", "https://shop.test", HEALTH.certificate).text
    said = failure('{"well": false, "said": "no answer: timed out"}')
    error = refused(proxy.visit, at(ScriptedHost({visit: said})), "R1", "new-id")
    assert "shop.test does not answer over https: no answer: timed out." in error.what


def test_the_proxys_files_come_with_an_authoritys_root(tmp_path, config) -> None:
    import io
    import tarfile

    root = tmp_path / "root.pem"
    root.write_text("-----BEGIN CERTIFICATE-----")
    private = replace(config, tls="acme", acme_ca="x", acme_ca_root=str(root))
    with tarfile.open(fileobj=io.BytesIO(proxy._archive(private))) as tar:
        names = tar.getnames()
    assert names[:2] == ["compose.yaml", "Caddyfile"]
    assert f"acme_ca_root /etc/caddy/{names[2]}" in proxy.authority(private)
