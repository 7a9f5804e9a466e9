"""The proxy's files: adopted together, or put back as they were when Caddy refuses them."""

import pytest

from stagetools.deploy.commands import proxy
from stagetools.deploy.config import StageConfig
from stagetools.deploy.layout import PROXY_DIR
from stagetools.deploy.steps import proxy as steps

# Caddy refuses a folder in which some file holds the word `broken`. A container lasts from
# `up` to `rm`; the third of them never runs when a file `ill` is there.
DOCKER = """
there=$(dirname "$said")/containers; touch "$there"
case "$*" in
  *"caddy validate"*) dir=${6%%:/etc*}
    ! grep -rq broken "$dir" || { echo "Error: broken here"; exit 1; } ;;
  *"ps --all"*) cat "$there" ;;
  *"up --detach"*) echo "c$(($(tail -n 1 "$there" | tr -d c) + 1))" >>"$there" ;;
  *"caddy reload"*) ! test -e "$(dirname "$said")/ill" ;;
  rm*) for last; do :; done; sed -i "/^$last$/d" "$there" ;;
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
        if path.is_file() and path.name not in (".said", "version")
    }


def start(machine, config: StageConfig = PLAIN, version: int = 1) -> None:
    command = proxy.ensure(steps.authority(config), version)
    machine.run(command, stdin=steps._archive(config))


def containers(machine) -> list[str]:
    return (machine.root / "containers").read_text().split()


def version(machine) -> str | None:
    file = machine.at(PROXY_DIR / "version")
    return file.read_text().strip() if file.exists() else None


def test_a_first_proxy_has_its_files_and_its_authority(caddy) -> None:
    start(caddy)
    assert folder(caddy).keys() == {"Caddyfile", "authority.caddy", "compose.yaml"}
    assert folder(caddy)["authority.caddy"] == "cert_issuer internal\n"
    assert containers(caddy) == ["c1"]


def test_the_first_stage_decides_who_certifies(caddy) -> None:
    start(caddy)
    start(caddy, StageConfig(stage_name="qual", domains=("b.test",), email="a@b.test"))
    assert folder(caddy)["authority.caddy"] == "cert_issuer internal\n"


def test_another_takes_over_before_the_one_that_runs_leaves(caddy) -> None:
    start(caddy)
    start(caddy, version=2)
    calls = [call.split()[1] for call in caddy.said if "validate" not in call]
    assert calls[2:] == ["ps", "compose", "ps", "exec", "stop", "rm"]
    assert containers(caddy) == ["c2"]
    assert version(caddy) == "2"


def test_one_that_never_runs_is_removed_and_the_old_one_stays(caddy) -> None:
    start(caddy)
    (caddy.root / "ill").touch()
    caddy.program("sleep", "true")
    done = caddy.attempt(proxy.ensure("", 2), steps._archive(PLAIN))
    assert done.returncode == 1
    assert containers(caddy) == ["c1"]
    assert version(caddy) is None  # the next deploy tries again
    (caddy.root / "ill").unlink()
    start(caddy, version=2)
    assert version(caddy) == "2"


def test_what_an_interrupted_renewal_left_goes_with_the_next(caddy) -> None:
    start(caddy)
    (caddy.root / "containers").write_text("c1\nc2\n")
    start(caddy)
    assert "stop c1 c2" in " ".join(caddy.said)


def test_what_caddy_refuses_is_put_back(caddy) -> None:
    start(caddy)
    before = folder(caddy)
    done = caddy.attempt(proxy.ensure("broken", 1), steps._archive(PLAIN))
    assert done.returncode == 0  # the authority is decided: the word is not written
    caddy.at(PROXY_DIR / "sites/x.caddy").write_text("broken")
    done = caddy.attempt(proxy.ensure("", 1), steps._archive(PLAIN))
    assert done.returncode == proxy.REFUSED
    assert b"Error: broken here" in done.stdout
    caddy.at(PROXY_DIR / "sites/x.caddy").unlink()
    assert folder(caddy) == before


def test_a_first_authority_that_caddy_refuses_leaves_no_file(caddy) -> None:
    done = caddy.attempt(proxy.ensure("broken", 1), steps._archive(PLAIN))
    assert done.returncode == proxy.REFUSED
    assert folder(caddy).keys() == set()


def test_a_sites_snippet_is_adopted_and_renews_the_proxy_once(caddy, layout) -> None:
    start(caddy)
    for _ in range(2):
        caddy.run(proxy.except_site(layout, "https://a.test {\n}\n"))
    assert folder(caddy)["sites/shop_prod.caddy"] == "https://a.test {\n}\n"
    assert containers(caddy) == ["c2"]
    assert version(caddy) == "1"


def test_a_snippet_that_caddy_refuses_leaves_the_one_before(caddy, layout) -> None:
    start(caddy)
    caddy.run(proxy.except_site(layout, "good\n"))
    before = folder(caddy)
    done = caddy.attempt(proxy.except_site(layout, "broken\n"))
    assert done.returncode == proxy.REFUSED
    assert folder(caddy) == before
    assert containers(caddy) == ["c2"]


def test_no_snippet_ends_the_exception(caddy, layout) -> None:
    start(caddy)
    caddy.run(proxy.except_site(layout, ""))
    assert containers(caddy) == ["c1"]
    caddy.run(proxy.except_site(layout, "good\n"))
    caddy.run(proxy.except_site(layout, ""))
    assert "sites/shop_prod.caddy" not in folder(caddy)
    assert containers(caddy) == ["c3"]


def test_a_snippet_reaches_caddy_as_it_was_written(caddy, layout) -> None:
    start(caddy)
    awkward = "# %s \\n $HOME `id` 'x'\n"
    caddy.run(proxy.except_site(layout, awkward))
    assert folder(caddy)["sites/shop_prod.caddy"] == awkward
