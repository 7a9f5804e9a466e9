"""The proxy's files: adopted together, or put back as they were when Caddy refuses them."""

import pytest

from stagetools.deploy.commands import proxy
from stagetools.deploy.config import StageConfig
from stagetools.deploy.layout import PROXY_DIR
from stagetools.deploy.steps import proxy as steps

# Caddy refuses a folder in which some file holds the word `broken`.
DOCKER = """
case "$*" in
  *"caddy validate"*) dir=${6%%:/etc*}
    ! grep -rq broken "$dir" || { echo "Error: broken here"; exit 1; } ;;
  *"ps --quiet"*) cat "$(dirname "$said")/running" 2>/dev/null || true ;;
  *"up --detach"*) echo c1 >"$(dirname "$said")/running" ;;
esac
"""
PLAIN = StageConfig(stage_name="prod", domains=("a.test",), tls="internal")


@pytest.fixture
def caddy(machine):
    machine.program("docker", DOCKER)
    return machine


def folder(machine) -> dict[str, str]:
    """The proxy's files, the validation's own log left out."""
    top = machine.at(PROXY_DIR)
    return {
        str(path.relative_to(top)): path.read_text()
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.name != ".said"
    }


def start(machine, config: StageConfig = PLAIN) -> None:
    machine.run(proxy.ensure(steps.authority(config)), stdin=steps._archive(config))


def reloads(machine) -> int:
    return sum("caddy reload" in call for call in machine.said)


def test_a_first_proxy_has_its_files_and_its_authority(caddy) -> None:
    start(caddy)
    assert folder(caddy).keys() == {"Caddyfile", "authority.caddy", "compose.yaml"}
    assert folder(caddy)["authority.caddy"] == "cert_issuer internal\n"
    assert reloads(caddy) == 0


def test_the_first_stage_decides_who_certifies(caddy) -> None:
    start(caddy)
    start(caddy, StageConfig(stage_name="qual", domains=("b.test",), email="a@b.test"))
    assert folder(caddy)["authority.caddy"] == "cert_issuer internal\n"


def test_a_running_proxy_is_reloaded(caddy) -> None:
    start(caddy)
    start(caddy)
    assert reloads(caddy) == 1


def test_what_caddy_refuses_is_put_back(caddy) -> None:
    start(caddy)
    before = folder(caddy)
    done = caddy.attempt(proxy.ensure("broken"), steps._archive(PLAIN))
    assert done.returncode == 0  # the authority is decided: the word is not written
    caddy.at(PROXY_DIR / "sites/x.caddy").write_text("broken")
    done = caddy.attempt(proxy.ensure(""), steps._archive(PLAIN))
    assert done.returncode == proxy.REFUSED
    assert b"Error: broken here" in done.stdout
    caddy.at(PROXY_DIR / "sites/x.caddy").unlink()
    assert folder(caddy) == before


def test_a_first_authority_that_caddy_refuses_leaves_no_file(caddy) -> None:
    done = caddy.attempt(proxy.ensure("broken"), steps._archive(PLAIN))
    assert done.returncode == proxy.REFUSED
    assert folder(caddy).keys() == set()


def test_a_sites_snippet_is_adopted_and_reloaded_once(caddy, layout) -> None:
    start(caddy)
    for _ in range(2):
        caddy.run(proxy.except_site(layout, "https://a.test {\n}\n"))
    assert folder(caddy)["sites/shop_prod.caddy"] == "https://a.test {\n}\n"
    assert reloads(caddy) == 1


def test_a_snippet_that_caddy_refuses_leaves_the_one_before(caddy, layout) -> None:
    start(caddy)
    caddy.run(proxy.except_site(layout, "good\n"))
    before = folder(caddy)
    done = caddy.attempt(proxy.except_site(layout, "broken\n"))
    assert done.returncode == proxy.REFUSED
    assert folder(caddy) == before
    assert reloads(caddy) == 1


def test_no_snippet_ends_the_exception(caddy, layout) -> None:
    start(caddy)
    caddy.run(proxy.except_site(layout, ""))
    assert reloads(caddy) == 0
    caddy.run(proxy.except_site(layout, "good\n"))
    caddy.run(proxy.except_site(layout, ""))
    assert "sites/shop_prod.caddy" not in folder(caddy)
    assert reloads(caddy) == 2


def test_a_snippet_reaches_caddy_as_it_was_written(caddy, layout) -> None:
    start(caddy)
    awkward = "# %s \\n $HOME `id` 'x'\n"
    caddy.run(proxy.except_site(layout, awkward))
    assert folder(caddy)["sites/shop_prod.caddy"] == awkward
