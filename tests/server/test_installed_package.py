"""A rendered project as a package: a wheel, a server, and neither checkout nor Docker."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.machines import Server, docker
from tests.server.project import Project

SERVERS = ("gunicorn", "uvicorn", "hypercorn")
GET = """
import http.client, socket, sys
connection = http.client.HTTPConnection(sys.argv[2])
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", sys.argv[3], headers={"X-Forwarded-Proto": "https"})
response = connection.getresponse()
print(response.status, response.getheader("Strict-Transport-Security"))
print(response.read().decode())
"""


def build_wheel(project: Project) -> Path:
    folder = project.root.parent / "dist"
    # built by this Python, whichever it is; the server's is the one that counts
    options = ["--no-deps", "--ignore-requires-python", "-w", folder]
    words = ["pip", "-q", "wheel", *options, project.root]
    subprocess.run([sys.executable, "-m", *words], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def machine(new_server: Callable[..., Server]) -> Server:
    """A Debian with Python, and with no curl, pip or compiler."""
    server = new_server("package")
    install = "apt-get -q install -y --no-install-recommends python3 python3-venv"
    server.run(f"export DEBIAN_FRONTEND=noninteractive; apt-get -q update; {install}")
    return server


def install(machine: Server, project: Project, into: str, *servers: str) -> Path:
    """As the documentation says it: an environment, the wheel, an account, `init-etc`."""
    wheel, slug = build_wheel(project), project.slug
    docker("cp", str(wheel), f"{machine.container}:/root/{wheel.name}")
    machine.run(
        f"useradd --system --user-group --create-home --home-dir /home/{slug}_prod {slug}_prod;"
        f"python3 -m venv {into}"
    )
    machine.run(f"{into}/bin/pip install -q /root/{wheel.name} {' '.join(servers)}")
    machine.run(
        f"ln -s {into}/bin/{slug} /usr/local/bin/{slug};"
        f"cd /; {slug} init-etc --systemd --hosts {slug}.example.com;"
        f"runuser -u {slug}_prod -- {slug} migrate -v0;"
        f"{slug} collectstatic --into /home/{slug}_prod/static -v0"
    )
    return wheel


@pytest.fixture(scope="module")
def mysite(machine: Server, new_project: Callable[..., Project]) -> Path:
    project = new_project(django="5.2")
    locale = "mysite/locale/de/LC_MESSAGES/django.po"
    project.write(locale, 'msgid ""\nmsgstr ""\n')
    return install(machine, project, "/opt/mysite", "uvicorn", "hypercorn")


def serve(machine: Server, name: str, server: str) -> None:
    """Start the unit that `init-etc` wrote, and no other; wait until its socket answers."""
    slug = name.rpartition("_")[0]
    unit = f"/etc/{slug}/{name}-{server}.service"
    others = " ".join(f"{name}-{other}" for other in SERVERS)
    machine.run(f"for u in {others}; do systemctl disable -q --now $u || true; done")
    try:
        machine.run(f"systemctl enable --now {unit}")
        probe = f"-m stagetools.probe /run/{name}/web.sock --limit 20"
        machine.run(f"$(dirname $(realpath /usr/local/bin/{slug}))/python {probe}")
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{machine.run('journalctl -n 40')}") from None


def get(machine: Server, name: str, path: str = "/") -> str:
    slug = name.rpartition("_")[0]
    arguments = f"/run/{name}/web.sock {slug}.example.com {path}"
    return machine.run(f"python3 - {arguments} <<'END'\n{GET}\nEND")


def test_templates_static_files_translations_and_migrations_travel_in_the_wheel(
    mysite: Path,
) -> None:
    names = set(zipfile.ZipFile(mysite).namelist())
    for part in (
        "templates/base.html",
        "static/site/style.css",
        "locale/de/LC_MESSAGES/django.po",
        "migrations/0001_initial.py",
    ):
        assert f"mysite/{part}" in names


@pytest.mark.parametrize("server", SERVERS)
def test_the_unit_serves_the_page_and_is_closed(
    machine: Server, mysite: Path, server: str
) -> None:
    serve(machine, "mysite_prod", server)
    page = get(machine, "mysite_prod")
    assert page.startswith("200 max-age=31536000")
    (style,) = re.findall(r'href="(/static/[^"]+\.css)"', page)
    assert get(machine, "mysite_prod", style).startswith("200 ")
    analysis = machine.run(f"systemd-analyze security --no-pager mysite_prod-{server}")
    exposure = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", analysis)
    assert exposure, analysis
    print(f"{server}: exposure {exposure[1]}")  # noqa: T201 - for the note
    assert float(exposure[1]) < 3.0


def test_what_serves_is_what_the_name_promises(machine: Server, mysite: Path) -> None:
    """Only the environment is elsewhere, in /opt, and it says so."""
    machine.run(
        "install -d -o mysite_prod -g mysite_prod -m 0755 /home/mysite_prod/media"
    )
    said = machine.run(
        "cd /; runuser -u mysite_prod -- /opt/mysite/bin/python -m stagetools || test $? = 1"
    )
    differing = {line.split(":")[0] for line in said.splitlines()[1:]}
    assert differing == {"venv_dir", "python_path"}, str(said)


def test_the_key_is_nobody_elses(machine: Server, mysite: Path) -> None:
    stat = machine.run("stat -c '%a %U %G' /etc/mysite/settings.ini")
    assert stat == "640 root mysite_prod"
    with pytest.raises(RuntimeError, match="cannot be read"):
        machine.run("cd /; runuser -u nobody -- /opt/mysite/bin/mysite check")


def test_two_projects_on_one_machine_do_not_meet(
    machine: Server, mysite: Path, new_project: Callable[..., Project]
) -> None:
    """The other one lives in an environment of its own name, as the convention has it."""
    project = new_project(project_slug="other", project_name="Other", django="6.1")
    install(machine, project, "/home/other_prod")
    for name in ("mysite_prod", "other_prod"):
        serve(machine, name, "gunicorn")
    for name, title in (("mysite_prod", "My Site"), ("other_prod", "Other")):
        page = get(machine, name)
        assert page.startswith("200 ")
        assert title in page
    keys = machine.run(
        "grep -h SECRET_KEY /etc/mysite/settings.ini /etc/other/settings.ini"
    )
    assert len(set(keys.splitlines())) == 2
    machine.run("install -d -o other_prod -g other_prod -m 0755 /home/other_prod/media")
    python = "/home/other_prod/bin/python"
    said = machine.run(f"cd /; runuser -u other_prod -- {python} -m stagetools")
    assert said.endswith("the virtual environment's directory: as expected")


def test_postgresql_knows_the_installation_by_its_account(
    machine: Server, mysite: Path, new_project: Callable[..., Project]
) -> None:
    """No password anywhere: a pool over PostgreSQL's unix socket, out of a closed unit."""
    machine.run(
        "export DEBIAN_FRONTEND=noninteractive;"
        "apt-get -q install -y --no-install-recommends postgresql;"
        "systemctl start postgresql;"
        "runuser -u postgres -- createuser ledger_prod;"
        "runuser -u postgres -- createdb --owner ledger_prod ledger_prod"
    )
    project = new_project(project_slug="ledger", project_name="Ledger")
    settings = "stagetools_project/settings.py"
    project.replace(settings, "defaults_with_sqlite", "defaults_with_postgresql")
    install(machine, project, "/opt/ledger", "'psycopg[binary,pool]'")
    serve(machine, "ledger_prod", "gunicorn")
    assert get(machine, "ledger_prod", "/healthz") == "200 None\nok"
    assert get(machine, "ledger_prod").startswith("200 ")
    machine.run("systemctl restart postgresql")
    assert get(machine, "ledger_prod").startswith("200 ")
