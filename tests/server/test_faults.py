"""What a project can bring that must not be served, and what is true after each deploy of it.

An interruption at each step of each task is test_interruptions.py's.

After every row: the site answers with the version that the row names; it answered all the
while (where the row says so); every write that was acknowledged is there; the lock is free;
nothing is left that serves nobody; and the next `inv deploy` succeeds without other work.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server, docker
from tests.server.project import Done, Project
from tests.server.typed import Typed
from tests.server.watch import give_version, watching, written

DOMAIN = "mysite.test"
LOCK = "/run/stagetools/mysite_prod.lock"
ALL = os.environ.get("FAULTS", "") in ("all", "docs")


# --- what happens, and when ----------------------------------------------------------------


Fault = Callable[[Server, Typed], None]


def interrupt(_: Server, typed: Typed) -> None:
    typed.send(signal.SIGINT)


def kill_remotely(pattern: str) -> Fault:
    def kill(server: Server, _: Typed) -> None:
        # in brackets, or the pattern would match the shell that holds it
        server.run(f"pkill -KILL -f '[{pattern[0]}]{pattern[1:]}'")

    return kill


def put_clock_back(server: Server) -> None:
    """The kernel's clock is this machine's too; so the server's `date` lies."""
    lie = """#!/bin/sh\nexec /usr/bin/date -d "1 hour ago" "$@"\n"""
    path = "/usr/local/bin/date"
    docker(
        "exec",
        "-i",
        server.container,
        "sh",
        "-c",
        f"cat >{path}; chmod +x {path}",
        stdin=lie,
    )


def put_clock_right(server: Server) -> None:
    server.run("rm /usr/local/bin/date")


def wait_for_crash(server: Server) -> None:
    """Until what serves has said that a process of its own was killed."""
    web = (
        "$(docker ps --quiet --filter label=stagetools.system=mysite_prod | head -n 1)"
    )
    said = (
        f"journalctl -q -o cat CONTAINER_ID={web} | grep -c 'was sent SIGKILL' || true"
    )
    end = time.monotonic() + 30
    while server.run(said) == "0":
        assert time.monotonic() < end, "nothing has crashed"
        time.sleep(0.2)


def stop_engine(server: Server, typed: Typed) -> None:
    server.run("systemctl stop docker.socket docker")
    typed.done()
    server.run("systemctl start docker")


def nothing(_: Server, __: Typed) -> None: ...


# --- what is deployed ----------------------------------------------------------------------

BUILDING, REHEARSING = r"\| #\d+ \[", r"rehearsing slowly"


def migration(body: str) -> Callable[[Project], None]:
    """A migration of the core app with this Python in it; `live` says which database."""

    def write(project: Project) -> None:
        project.write(
            "mysite/migrations/0003_fault.py",
            "import os, time\n"
            "from django.db import migrations\n\n\n"
            "def run(apps, editor):\n"
            "    live = 'STAGETOOLS_REHEARSAL' not in os.environ\n"
            f"    {body}\n\n\n"
            "class Migration(migrations.Migration):\n"
            "    dependencies = [('mysite', '0002_entry_picture')]\n"
            "    operations = [migrations.RunPython(run, migrations.RunPython.noop)]\n",
        )

    return write


def settings(text: str) -> Callable[[Project], None]:
    def write(project: Project) -> None:
        path = "stagetools_project/settings.py"
        project.write(path, project.read(path) + text)

    return write


def urls(text: str) -> Callable[[Project], None]:
    def write(project: Project) -> None:
        path = "stagetools_project/urls.py"
        project.write(path, project.read(path) + text)

    return write


def hungry(project: Project) -> None:
    """Wants 1 GB where 200 MB are allowed."""
    toml = project.read("deploy.toml")
    project.write("deploy.toml", toml + 'memory = "200 MB"\n')
    wsgi("hog = [bytearray(64 * 2**20) for _ in range(16)]")(project)


def wsgi(text: str) -> Callable[[Project], None]:
    """Something that happens in the web process alone."""
    return settings(f"\nimport sys\nif 'gunicorn' in sys.argv[0]:\n    {text}\n")


def sick(status: int) -> Callable[[Project], None]:
    def write(project: Project) -> None:
        project.write(
            "mysite/sick.py",
            "from django.http import HttpResponse\n\n\n"
            "def middleware(get_response):\n"
            f"    return lambda request: HttpResponse('feeling unwell', status={status})\n",
        )
        settings("\nMIDDLEWARE.insert(0, 'mysite.sick.middleware')\n")(project)

    return write


@dataclass(frozen=True)
class Row:
    """One fault: what is deployed, when what happens, and what is true afterwards."""

    name: str
    change: Callable[[Project], None] = lambda project: None
    at: str = ""
    fault: Fault = nothing
    serves: str = "old"  # old, new, or either where the fault races the switch
    answers: bool = True  # all the while
    writes: bool = True  # and takes writes all the while
    status: int | None = 1  # None where the client is killed, and has none
    says: tuple[str, ...] = ()
    limit: float = 90
    rare: bool = False  # runs when FAULTS asks for all
    prepare: Callable[[Server], None] = field(default=lambda server: None)
    mend: Callable[[Server], None] = field(default=lambda server: None)
    later: Callable[[Server], None] = field(default=lambda server: None)


# gunicorn has imported the settings before it forks; one worker falls, with what it is doing.
CRASH = """
    import os, signal, threading
    def crash():
        if not os.path.exists("/tmp/crashed"):
            open("/tmp/crashed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    os.register_at_fork(after_in_child=lambda: threading.Timer(6, crash).start())
"""
SLOW = "print('rehearsing slowly', flush=True); time.sleep(6)"
ROWS = [
    Row("builder killed", at=BUILDING, fault=kill_remotely("compose.*build web"), says=("Build:", "could not be built"), rare=True),
    Row("migration's container killed", migration(SLOW), REHEARSING, kill_remotely("stagetools.database rehearse"), says=("Rehearse:", "not touched"), rare=True),
    Row("engine stopped in the build", at=BUILDING, fault=stop_engine, answers=False, says=("Build:",)),
    Row("settings that do not compile", settings("\nthis is no Python\n"), says=("Build:", "SyntaxError"), rare=True),
    Row("an import error in a view", urls("\nfrom mysite import no_such_view\n"), says=("Build:", "no_such_view"), rare=True),
    Row("an import error in the web process alone", wsgi("import no_such_module"), says=("Health:", "no_such_module")),
    Row("a failing migration", migration("raise ValueError('no such luck')"), says=("Rehearse:", "no such luck", "not touched"), rare=True),
    Row("a migration that fails on the live database alone", migration("if live: raise ValueError('only live')"), says=("Migrate:", "only live", "goes on serving", "not touched")),
    Row("an endless migration, and Ctrl-C", migration("print('rehearsing slowly', flush=True); time.sleep(3600)"), REHEARSING, interrupt, status=130, says=("Interrupted",), rare=True),
    Row("a migration over the limit", migration("time.sleep(2.5)"), says=("waiting for about", "migration_limit", "--yes")),
    Row("an unhealthy answer", sick(500), says=("Health:", "500 feeling unwell", "goes on serving")),
    Row("an answer that is no answer to the question", sick(404), says=("Health:", "404"), limit=120, rare=True),
    Row("a crash 5 s after the switch", wsgi(CRASH), later=wait_for_crash, serves="new", answers=False, status=0),
    Row("no memory", hungry, says=("Health:", "ended while it started")),
    Row("a clock that goes back an hour", prepare=put_clock_back, mend=put_clock_right, serves="new", status=0),
]  # fmt: skip


FULL = Row(
    "the disk full in the upload",
    lambda project: project.write("mysite/static/big.txt", os.urandom(9 * 2**20).hex()),
    prepare=lambda server: server.run("head -c 56M /dev/zero >/home/full"),
    mend=lambda server: server.run("rm -f /home/full"),
    writes=False,  # there is no room for them either, whoever takes it
    says=("Upload:", "No space left"),
)


# --- one server, and one project that is well before each row -------------------------------


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("faults", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    git(project, "init", "-q")
    give_version(project, "v0")
    project.deploy()
    commit(project)
    return project


def git(project: Project, *words: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *identity, *words], cwd=project.root, check=True)


def commit(project: Project) -> None:
    git(project, "add", "-A")
    git(project, "commit", "-q", "--allow-empty", "-m", "As it serves")


@dataclass
class Served:
    """The version that the row before has left serving, if it ended well."""

    version: str = ""


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


def well(server: Server, project: Project, served: Served, number: int) -> str:
    """Bring the site to where a row begins; the version that serves."""
    git(project, "checkout", "-q", ".")
    git(project, "clean", "-qfd")
    old, served.version = served.version, ""
    return old or deploy_well(server, project, f"v{number}")


def deploy_well(server: Server, project: Project, version: str) -> str:
    """Whatever a row that failed has left."""
    give_version(project, version)
    if "0003_fault" in server.run(
        "docker exec $(docker ps -q --filter label=stagetools.system | head -1) python manage.py showmigrations mysite"
    ):
        project.inv("manage", "migrate mysite 0002")
    project.deploy()
    commit(project)
    return version


# A TLS socket whose peer goes away in the middle of wrap_socket() is closed by nobody else.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "row", [row for row in ROWS if ALL or not row.rare], ids=lambda row: row.name
)
def test_after(row: Row, server: Server, project: Project, served: Served) -> None:
    number = ROWS.index(row) if row in ROWS else len(ROWS)
    old, new = well(server, project, served, number), f"v{number}-new"
    with watching(server, DOMAIN) as watch:
        row.change(project)
        give_version(project, new)
        row.prepare(server)
        done = fail(server, project, row)
        row.mend(server)
        wait_for_page(server)
        version = Browser(server.address, DOMAIN).get("/version").text
    assert "Traceback (most recent call last)" not in said_by_us(done.text), str(done)
    if row.status is not None:
        assert done.status == row.status, str(done)
    for words in row.says:
        assert words in done.text, str(done)
    may_serve = {"old": [old], "new": [new], "either": [old, new]}
    assert version in may_serve[row.serves], done
    failures = [f for f in watch.failures if row.writes or "POST" not in f]
    assert not row.answers or not failures, failures
    assert set(watch.acknowledged) <= written(server)
    server.run(f"test ! -e {LOCK} || flock -w 15 {LOCK} true")
    assert_next_deploy_succeeds(server, project, f"{new}-mended")
    commit(project)
    served.version = f"{new}-mended"


def fail(server: Server, project: Project, row: Row) -> Done:
    typed = Typed(project, "deploy")
    try:
        if row.at:
            typed.wait_for(row.at)
        row.fault(server, typed)
        done = typed.done(row.limit)
        row.later(server)
        return done
    finally:
        if typed.process.poll() is None:
            os.killpg(typed.process.pid, signal.SIGKILL)
            typed.done()


def said_by_us(text: str) -> str:
    """The output without what the project's own Python wrote."""
    own = [line for line in text.splitlines() if not line.startswith("  |")]
    cut = next((n for n, line in enumerate(own) if "below say" in line), len(own))
    return "\n".join(own[:cut])


def wait_for_page(server: Server) -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        try:
            if Browser(server.address, DOMAIN).get("/version").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)


def assert_next_deploy_succeeds(server: Server, project: Project, version: str) -> None:
    git(project, "checkout", "-q", ".")
    git(project, "clean", "-qfd")
    give_version(project, version)
    project.deploy()
    assert Browser(server.address, DOMAIN).get("/version").text == version
    there = "docker ps -q --filter label=stagetools.system=mysite_prod --filter label=com.docker.compose.service"
    assert len(server.run(there).split()) == 1


def test_after_a_full_disk(new_server, new_project) -> None:
    """On a server of its own, whose /home is small: a power cut would empty it."""
    small = new_server(
        "small", with_docker=True, options=["--tmpfs=/home:size=64m,mode=755"]
    )
    project = new_project()
    project.target(small, domain=DOMAIN)
    git(project, "init", "-q")
    give_version(project, "v0")
    project.deploy()
    commit(project)
    test_after(FULL, small, project, Served())


def test_a_port_that_another_program_has_is_named(new_server, new_project) -> None:
    taken = new_server("taken", with_docker=True)
    listen = ["systemd-socket-activate", "--listen=443", "/bin/cat"]
    docker("exec", "--detach", taken.container, *listen)
    project = new_project()
    project.target(taken, domain=DOMAIN)
    done = project.inv("deploy")
    assert done.status == 1
    assert "Another program has port 80 or 443" in done.text
    assert "systemctl disable" in done.text


def test_a_domain_that_points_elsewhere_is_named_before_anything_is_done(
    server, project
) -> None:
    git(project, "checkout", "-q", ".")
    project.replace("deploy.toml", '"internal"', '"acme"')
    project.replace("deploy.toml", DOMAIN, f'{DOMAIN}", "nowhere.invalid')
    done = project.inv("deploy")
    assert done.status == 1
    assert "nowhere.invalid is not in DNS" in done.text
    assert "Build" not in done.text
