"""What goes wrong before anything is touched: a few lines that say what to do, never a traceback."""

import shutil

import pytest

from tests.server import machines
from tests.server.machines import Server
from tests.server.project import Done, Project

LINES = 5  # at the most, a person reads


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("refuses")


@pytest.fixture
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain="mysite.test")
    return project


def assert_refused(done: Done, status: int, *words: str) -> None:
    assert done.status == status, str(done)
    assert "Traceback" not in done.text
    for word in words:
        assert word in done.text
    said = [
        line
        for line in done.text.splitlines()
        if line and not line.startswith(("mysite_prod →", "✗"))
    ]
    assert len(said) <= LINES, str(done)


def test_a_wrong_key_is_refused(project, tmp_path) -> None:
    shutil.copy(machines.make_key(tmp_path), project.home / ".ssh" / "other")
    config = f"Host *\n  IdentityFile {project.home}/.ssh/other\n"
    (project.home / ".ssh" / "config").write_text(config)
    assert_refused(project.inv("deploy"), 1, "refused every SSH key", "identity_file")


def test_an_unknown_server_is_refused_with_its_fingerprint(project, server) -> None:
    (project.home / ".ssh" / "known_hosts").unlink()
    assert_refused(project.inv("deploy"), 2, server.fingerprint, "--accept-host-key")
    assert not (project.home / ".ssh" / "known_hosts").exists()


def test_a_server_with_another_fingerprint_than_the_accepted_is_refused(
    project, server
) -> None:
    (project.home / ".ssh" / "known_hosts").unlink()
    done = project.inv("deploy", "--accept-host-key", "SHA256:" + "A" * 43)
    assert_refused(done, 1, server.fingerprint, "Nothing was sent")


def test_an_accepted_fingerprint_is_remembered(project, server) -> None:
    (project.home / ".ssh" / "known_hosts").unlink()
    project.inv("status", "--accept-host-key", server.fingerprint)
    assert server.address in (project.home / ".ssh" / "known_hosts").read_text()
    assert_refused(project.inv("status"), 1, "does not run", "inv deploy")


def test_a_changed_host_key_stops_everything_before_authentication(
    project, server
) -> None:
    other = machines.make_key(project.home).with_suffix(".pub").read_text().split()
    line = f"{server.address} {other[0]} {other[1]}\n"
    (project.home / ".ssh" / "known_hosts").write_text(line)
    before = server.run(
        "journalctl --no-pager -q -o cat -u ssh | grep -c Accepted || true"
    )
    assert_refused(
        project.inv("deploy"), 1, "another host key", f"ssh-keygen -R {server.address}"
    )
    after = server.run(
        "journalctl --no-pager -q -o cat -u ssh | grep -c Accepted || true"
    )
    assert after == before


def test_a_host_that_does_not_exist_is_named(project) -> None:
    project.replace("deploy.toml", "host = ", 'host = "no-such-host.invalid" # ')
    assert_refused(project.inv("deploy"), 1, "no-such-host.invalid", "deploy.toml")


def test_a_port_where_nobody_listens_is_named(project) -> None:
    project.write("deploy.toml", project.read("deploy.toml") + "port = 2222\n")
    assert_refused(project.inv("deploy"), 1, "port 2222")


def test_an_unknown_key_is_refused_with_the_nearest_known_one(project) -> None:
    project.replace("deploy.toml", "domains = ", "domain = ")
    assert_refused(project.inv("deploy"), 2, "domain", "Did you mean domains?")


def test_a_missing_host_without_a_terminal_is_refused(project) -> None:
    project.replace("deploy.toml", "host = ", "# ")
    assert_refused(project.inv("deploy"), 2, "names no host", 'host = "')


def test_a_stage_that_is_not_there_is_refused_with_those_that_are(project) -> None:
    assert_refused(project.inv("deploy", "--stage", "qual"), 2, "'qual'", "prod")


def test_a_stage_name_that_breaks_the_convention_is_refused(project) -> None:
    project.replace("deploy.toml", "[stages.prod]", "[stages.test]")
    assert_refused(
        project.inv("deploy", "--stage", "test"), 2, "mysite_test", "p (production)"
    )


def test_a_placeholder_domain_is_refused_before_the_server_is_asked(project) -> None:
    project.replace("deploy.toml", "mysite.test", "mysite.example.com")
    project.replace("deploy.toml", '"internal"', '"acme"')
    assert_refused(project.inv("deploy"), 2, "mysite.example.com", "placeholder")


def test_what_was_refused_changed_nothing(project, server) -> None:
    assert server.run("ls /home /srv") == "/home:\n\n/srv:"
    assert server.run("command -v docker || echo none") == "none"
