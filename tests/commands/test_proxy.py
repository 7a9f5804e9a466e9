"""The proxy's files: adopted together, or put back as they were when Caddy refuses them."""

import stat

import pytest

from stagetools.deploy.commands import proxy
from stagetools.deploy.config import StageConfig
from stagetools.deploy.layout import PROXY_DIR
from stagetools.deploy.steps import proxy as steps

# Caddy refuses a folder in which some file holds the word `broken`. A container lasts from
# `up` to `rm`; no new one comes to hold the ports when a file `ill` is there.
DOCKER = """
there=$(dirname "$said")/containers; touch "$there"
case "$*" in
  *"caddy validate"*) dir=${6%%:/etc*}
    ! grep -rq broken "$dir" || { echo "Error: broken here"; exit 1; } ;;
  *"ps --all"*) cat "$there" ;;
  *"up --detach"*) echo "c$(($(tail -n 1 "$there" | tr -d c) + 1))" >>"$there" ;;
  *"inspect"*) for last; do :; done; echo "1${last#c}" ;;
  rm*) for last; do :; done; sed -i "/^$last$/d" "$there" ;;
esac
"""
SS = """
test -e "$(dirname "$said")/ill" || for id in $(tr -d c <"$(dirname "$said")/containers"); do
  echo "LISTEN 0 4096 *:80 *:* users:((\\"caddy\\",pid=1$id,fd=3))"
  echo "LISTEN 0 4096 *:443 *:* users:((\\"caddy\\",pid=1$id,fd=4))"
done
"""
PLAIN = StageConfig(stage_name="prod", domains=("a.test",), tls="internal")


@pytest.fixture
def caddy(machine):
    machine.program("docker", DOCKER)
    machine.program("ss", SS)
    for folder, file in (
        ("/proc/sys/fs", "protected_symlinks"),
        ("/etc/sysctl.d", "x"),
    ):
        machine.at(folder).mkdir(parents=True)
        (machine.at(folder) / file).write_text("0\n")
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
    calls = [
        call.split()[1]
        for call in caddy.said
        if call.startswith("docker") and "validate" not in call
    ]
    assert calls[4:] == ["pull", "ps", "compose", "ps", "inspect", "stop", "rm"]
    assert containers(caddy) == ["c2"]
    assert version(caddy) == "2"


@pytest.mark.slow
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


def test_the_kernel_follows_no_planted_links_now_and_after_a_reboot(caddy) -> None:
    """Some kernels begin with 0, under which a site's own link is dialled."""
    start(caddy)
    assert caddy.at("/proc/sys/fs/protected_symlinks").read_text() == "1\n"
    kept = caddy.at("/etc/sysctl.d/60-stagetools.conf")
    assert kept.read_text() == "fs.protected_symlinks = 1\n"
    start(caddy)
    assert kept.read_text() == "fs.protected_symlinks = 1\n"


def test_the_sockets_of_sites_of_0_1_0_are_guarded_too(caddy, layout, other) -> None:
    """Theirs was a folder of their own, in which the kernel follows their links."""
    caddy.program("chown", "true")
    for of in (layout, other):
        caddy.at(of.run_dir).mkdir(parents=True, exist_ok=True)
        caddy.at(of.run_dir).chmod(0o750)
    start(caddy)
    for of in (layout, other):
        assert stat.S_IMODE(caddy.at(of.run_dir).stat().st_mode) == 0o1777
        assert f"chown root:root {caddy.at(of.run_dir)}" in caddy.said


def test_no_proxy_starts_where_the_kernel_follows_planted_links(caddy) -> None:
    caddy.at("/proc/sys/fs/protected_symlinks").unlink()
    caddy.at("/proc/sys/fs").rmdir()
    done = caddy.attempt(proxy.ensure("", 1), steps._archive(PLAIN))
    assert done.returncode == 1
    assert b"is 0 and cannot be set" in done.stdout
    assert not caddy.at(PROXY_DIR).exists()


def test_a_certificate_that_a_snippet_needs_is_beside_it(caddy, layout) -> None:
    start(caddy)
    caddy.run(proxy.except_site(layout, "good\n", "root.pem", "-----BEGIN"))
    assert folder(caddy)["root.pem"] == "-----BEGIN\n"


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
