"""What one site may take of its server, and what a restart of the engine takes from a site."""

import json
import time

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.watch import give_version, watching

DOMAIN = "mysite.test"
PROCESSES, MEMORY = 100, 256 * 10**6
LINES = 100_000  # journald let some 60,000 of a unit pass in half a minute


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("limits", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN, processes=PROCESSES, memory="256 MB")
    give_version(project, "limited")
    project.deploy()
    return project


@pytest.fixture
def container(project, server) -> str:
    return server.run("docker ps -q --no-trunc --filter label=stagetools.system")


def inside(container: str, code: str, *flags: str) -> str:
    """Python in the container, as whoever took it over would run it."""
    return f"docker exec {' '.join(flags)} {container} python -c '{code}'"


def inspect(server: Server, container: str) -> dict:
    return json.loads(server.run(f"docker inspect {container}"))[0]


def processes_of(server: Server, container: str) -> int:
    """All that the limit counts: processes and their threads."""
    return int(
        server.run(f"docker stats --no-stream --format '{{{{.PIDs}}}}' {container}")
    )


def assert_it_serves(server: Server) -> None:
    assert Browser(server.address, DOMAIN).get("/version").text == "limited"


def test_the_limits_are_those_of_deploy_toml(container, server) -> None:
    found = inspect(server, container)["HostConfig"]
    assert found["PidsLimit"] == PROCESSES
    assert found["Memory"] == found["MemorySwap"] == MEMORY
    assert found["Tmpfs"] == {"/tmp": "size=64m"}


def test_a_bomb_of_processes_stays_in_its_container(container, server) -> None:
    bomb = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(1)"
    server.run(inside(container, bomb, "--detach"))
    try:
        for _ in range(30):
            taken = processes_of(server, container)
            if taken == PROCESSES:
                break
            time.sleep(0.5)
        assert taken == PROCESSES
        server.run("sh -c true & wait $!")  # the server itself has processes left
    finally:  # the other tests have the same container
        server.run(  # paused: none forks once more between the list and its end
            f"docker pause {container}; docker top {container} -eo pid,args"
            " | awk '/import os, time/ {print $1}' | xargs kill -9;"
            f" docker unpause {container}"
        )
    for _ in range(40):  # a worker may have wanted a thread meanwhile
        if Browser(server.address, DOMAIN).get("/version").status == 200:
            break
        time.sleep(0.5)
    assert_it_serves(server)


def test_what_takes_too_much_memory_is_ended_and_the_site_goes_on(
    container, server
) -> None:
    hog = 'x = b"x" * 2**30'
    ended = server.run(f"{inside(container, hog)} >/dev/null 2>&1 || echo $?")
    assert ended in ("137", "1")  # killed, or refused by Python
    assert inspect(server, container)["RestartCount"] == 0
    assert_it_serves(server)


def test_tmp_is_small_and_uploads_in_flight_are_on_the_disk(container, server) -> None:
    fill = 'open("/tmp/x", "wb").write(b"x" * 10**8)'
    said = server.run(f"{inside(container, fill)} 2>&1 || true")
    assert "No space left on device" in said
    where = inside(container, "import tempfile; print(tempfile.gettempdir())")
    place = "/home/mysite_prod/media/.tmp"
    assert server.run(where) == place
    assert server.run(f"stat -c '%U %a' {place}") == "mysite_prod 700"


def test_one_that_logs_much_hides_no_line_of_another(container, server) -> None:
    image = inspect(server, container)["Config"]["Image"]
    count = 'import time\nfor n in range(100): print("line", n, flush=True); time.sleep(0.1)'
    server.run(
        "docker run --detach --rm --log-driver journald --log-opt tag=neighbour"
        f" {image} python -c '{count}'"
    )
    flood = f'f = open("/proc/1/fd/1", "w")\nfor n in range({LINES}): print("flood", n, file=f)'
    server.run(inside(container, flood))
    lines = "journalctl -q -o cat CONTAINER_TAG="
    for _ in range(60):
        neighbour = server.run(f"{lines}neighbour").splitlines()
        if "line 99" in neighbour:
            break
        time.sleep(0.5)
    assert neighbour == [f"line {n}" for n in range(100)]
    for _ in range(60):
        flooded = int(server.run(f"{lines}mysite_prod | grep -c ^flood || true"))
        if flooded == LINES:
            break
        time.sleep(0.5)
    assert flooded == LINES


def test_a_restart_and_an_upgrade_of_the_engine_are_not_noticed(
    container, server
) -> None:
    before = inspect(server, container)["State"]["StartedAt"]
    settings = json.loads(server.run("cat /etc/docker/daemon.json"))
    assert settings["live-restore"] is True
    with watching(server, DOMAIN) as watch:
        time.sleep(1)
        server.run("systemctl restart containerd")  # as an upgrade of it does
        server.run("systemctl restart docker")
        server.run("until docker info >/dev/null 2>&1; do sleep 0.5; done")
        time.sleep(1)
    print(f"{watch.requests} requests, {len(watch.failures)} failed")  # noqa: T201 - with -s
    assert watch.failures == []
    assert inspect(server, container)["State"]["StartedAt"] == before


def test_the_site_is_deployed_restarted_and_rolled_back_after_that(
    project, server
) -> None:
    """Five changes of the environment leave a release to roll back to."""
    give_version(project, "second")
    project.deploy()
    for number in range(5):
        assert project.inv("env.set", f"NUMBER={number}").status == 0
    done = project.inv("rollback")
    assert done.status == 0, str(done)
    assert_it_serves(server)
