"""Which containers a start removes first: with a docker that lists what the test says."""

from pathlib import Path

import pytest
import yaml

from stagetools.deploy.commands import compose

DOCKER = """
here=$(dirname "$said")
case "$1 $2" in
  "ps --all") case "$*" in
    *--format*) cat "$here/containers" ;;
    *release=*) echo "id-of-${*##*release=}" ;;
    *) cat "$here/containers" ;;
  esac ;;
  rm*) grep -v "^$2 " "$here/containers" >"$here/left" || true; mv "$here/left" "$here/containers" ;;
esac
"""


@pytest.fixture
def docker(machine):
    machine.program("docker", DOCKER)
    return machine


def with_containers(machine, *lines: str) -> None:
    (machine.root / "containers").write_text("".join(f"{line}\n" for line in lines))


def scale(machine) -> str:
    (up,) = [call for call in machine.said if " up " in call]
    return up.partition("--scale ")[2].split()[0]


def test_a_first_release_starts_alone(docker, layout) -> None:
    with_containers(docker)
    assert docker.run(compose.start_beside(layout, "R1", serving="")) == "id-of-R1\n"
    assert scale(docker) == "web=1"


def test_a_release_starts_beside_the_one_that_serves(docker, layout) -> None:
    with_containers(docker, "c1 R1")
    assert docker.run(compose.start_beside(layout, "R2", serving="R1")) == "id-of-R2\n"
    assert scale(docker) == "web=2"
    assert not [call for call in docker.said if call.startswith("docker stop")]


def test_what_an_interrupted_deploy_left_leaves_first_as_in_any_stop(
    docker, layout
) -> None:
    with_containers(docker, "c1 R1", "c2 R2", "c3 R1x")
    docker.run(compose.start_beside(layout, "R3", serving="R1"))
    calls = [
        call for call in docker.said if call.startswith(("docker stop", "docker rm"))
    ]
    assert calls == [
        "docker rm --force shop-prod-database",  # a migration that goes on unwatched
        *("docker stop c2", "docker rm c2", "docker stop c3", "docker rm c3"),
    ]
    assert scale(docker) == "web=2"


def test_only_this_installations_containers_are_looked_at(docker, layout) -> None:
    with_containers(docker)
    docker.run(compose.start_beside(layout, "R1", serving=""))
    for call in docker.said:
        if call.startswith("docker ps"):
            assert "label=com.docker.compose.project=shop-prod" in call
            assert "oneoff=False" in call


def test_a_container_that_will_not_start_is_an_error(docker, layout) -> None:
    docker.program(
        "docker", 'case "$*" in *" up "*) echo no memory >&2; exit 1 ;; esac'
    )
    done = docker.attempt(compose.start_beside(layout, "R1", serving=""))
    assert done.returncode != 0
    assert b"no memory" in done.stderr


def test_stopping_takes_the_container_away(docker) -> None:
    with_containers(docker)
    docker.run(compose.stop("c1"))
    assert docker.said == ["docker stop c1", "docker rm c1"]


def test_a_release_that_serves_has_no_way_to_the_snapshots() -> None:
    """Whatever a project's compose.yaml says: one of 0.1.0 mounts them."""
    text = (Path(compose.__file__).parents[1] / "overlays/serve.yaml").read_text()
    (mount,) = [
        volume
        for volume in yaml.safe_load(text)["services"]["web"]["volumes"]
        if "/backups" in str(volume)
    ]
    assert mount["type"] == "tmpfs"
    assert mount["target"] == "${STAGETOOLS_HOME}/backups"
