"""As root and with sudo; with Docker and without; behind a firewall; certified by ACME."""

import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.server.browser import Browser
from tests.server.machines import NETWORK, Server, docker
from tests.server.project import Project

DOMAIN = "mysite.test"


def assert_serves(server: Server, **options: object) -> None:
    browser = Browser(server.address, DOMAIN, **options)  # type: ignore[arg-type]
    assert browser.get("/").status == 200
    assert browser.post_form("/", {"name": "V", "message": "Hello"}).status == 302


def test_a_user_with_sudo_deploys_to_a_bare_server_behind_a_firewall(
    new_server, new_project, key
) -> None:
    server = new_server("sudo")
    server.run(
        "useradd -m -s /bin/bash deployer; install -d -o deployer -m 700 /home/deployer/.ssh;"
        " install -o deployer -m 600 /root/.ssh/authorized_keys /home/deployer/.ssh/authorized_keys;"
        " echo 'deployer ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/deployer; rm /root/.ssh/authorized_keys"
    )
    close_all_but(server, 22, 80, 443)
    project = new_project()
    project.target(server, domain=DOMAIN, user="deployer")
    project.deploy()
    assert_serves(server)
    assert "Nothing has changed" in project.deploy().text
    for words in (
        ["status"],
        ["logs"],
        ["restart"],
        ["manage", "check"],
        ["env.set", "GREETING=hello"],
    ):
        done = project.inv(*words)
        assert done.status == 0, str(done)
    assert not listening_outside(server) - {"22", "80", "443"}


def close_all_but(server: Server, *ports: int) -> None:
    server.run(
        "apt-get update -qq; apt-get install -qq -y --no-install-recommends iptables >/dev/null"
    )
    allowed = ",".join(str(port) for port in ports)
    server.run(
        "iptables -A INPUT -i lo -j ACCEPT;"
        " iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT;"
        f" iptables -A INPUT -p tcp -m multiport --dports {allowed} -j ACCEPT; iptables -P INPUT DROP"
    )


def listening_outside(server: Server) -> set[str]:
    lines = server.run("ss -Hltn '! src 127.0.0.0/8'").splitlines()
    return {line.split()[3].rpartition(":")[2] for line in lines}


def test_a_user_without_sudo_is_told_what_is_missing(new_server, new_project) -> None:
    server = new_server("nosudo", with_docker=True)
    server.run(
        "useradd -m -s /bin/bash plain; install -d -o plain -m 700 /home/plain/.ssh;"
        " install -o plain -m 600 /root/.ssh/authorized_keys /home/plain/.ssh/authorized_keys"
    )
    project = new_project()
    project.target(server, domain=DOMAIN, user="plain")
    done = project.inv("deploy")
    assert done.status == 1
    assert "may not sudo without a password" in done.text


# --- certificates from an authority -------------------------------------------------------

AUTHORITY = """{
\tskip_install_trust
}
https://ca.test {
\ttls internal
\tacme_server
}
"""


@pytest.fixture
def certified(new_server) -> Iterator[tuple[Server, str]]:
    """A server, and an ACME authority that finds it by name; its root certificate."""
    server = new_server("acme", with_docker=True)
    name = f"stagetools-test-ca-{time.time_ns()}"
    docker(
        *("create", "--name", name, "--network", NETWORK),
        *("--add-host", f"{DOMAIN}:{server.address}", "caddy:2"),
    )
    subprocess.run(
        ["docker", "cp", "-", f"{name}:/etc/caddy"],
        input=tar("Caddyfile", AUTHORITY),
        check=True,
    )
    docker("start", name)
    address = docker(
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        name,
    )
    server.run(
        f"echo '{address} ca.test' >>/etc/hosts; echo '{server.address} {DOMAIN}' >>/etc/hosts"
    )
    root = "/data/caddy/pki/authorities/local/root.crt"
    for _ in range(50):
        if found := docker("exec", name, "sh", "-c", f"cat {root} 2>/dev/null || true"):
            break
        time.sleep(0.2)
    yield server, found
    docker("rm", "-f", "-v", name)


def tar(name: str, text: str) -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        file.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


DIRECTORY = "https://ca.test/acme/local/directory"


def certify(
    project: Project, server: Server, root: str, *, by: str = DIRECTORY, **keys: str
) -> None:
    """Let the authority at `by`, whose root certificate is `root`, certify the stage."""
    ours = {"tls": "acme", "acme_ca": by, "acme_ca_root": "ca.pem"}
    project.target(server, domain=DOMAIN, **ours, **keys)
    project.write("ca.pem", root)


def test_a_certificate_is_issued_by_acme_once_nothing_stands_in_its_way(
    certified, new_project
) -> None:
    """A closed port; an authority that nobody reaches; then ours, and what had failed is asked."""
    server, root = certified
    close_all_but(server, 22, 443)
    project: Project = new_project()
    certify(project, server, root)
    done = project.inv("deploy")
    assert done.status == 1
    assert f"Port 80 of {server.address} cannot be reached from here" in done.text
    assert "Account" not in done.text

    server.run("iptables -A INPUT -p tcp --dport 80 -j ACCEPT")
    certify(project, server, root, by="https://127.0.0.1:1/directory")
    done = project.inv("deploy")
    assert done.status == 1
    assert f"Visit: {DOMAIN} does not answer over https" in done.text
    assert "DNS" in done.text

    certify(project, server, root, email="ops@mysite.test")
    done = project.deploy()
    assert f"{DOMAIN} answers over https" in done.text
    assert_serves(server, trust=ssl.create_default_context(cadata=root))
