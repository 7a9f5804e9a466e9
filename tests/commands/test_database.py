"""Asking a release's image about the database: in which container, over which files."""

from stagetools.deploy.commands import database


def test_what_an_interrupted_task_left_running_is_ended_first(machine, layout) -> None:
    machine.program("docker", "true")
    machine.run(database.run(layout, "R1", "plan"))
    first, second = machine.said
    assert first == "docker rm --force shop-prod-database"
    assert "--name shop-prod-database web python -m stagetools.database plan" in second
    assert "--rm --no-deps" in second


def test_its_answers_are_not_kept_among_the_sites_own_lines(machine, layout) -> None:
    machine.program("docker", 'echo "log: ${STAGETOOLS_LOG-}" >>"$said"')
    machine.run(database.run(layout, "R1", "known"))
    assert machine.said[-1] == "log: none"


def test_its_containers_purpose_and_directory_are_said(machine, layout) -> None:
    machine.program("docker", 'echo "data: ${STAGETOOLS_DATA-}" >>"$said"')
    copy = layout.data_copy("R2")
    machine.run(database.run(layout, "R1", "reverse", overlay="rehearse", data=copy))
    call, data = machine.said[2:]
    assert "/overlays/" not in call
    source = machine.at(layout.source("R1"))
    rehearse = machine.at(layout.overlay("rehearse"))
    assert f"--file {source}/compose.yaml --file {rehearse} " in call
    assert data == f"data: {machine.at(copy)}"
    machine.run(database.run(layout, "R1", "migrate"))
    assert machine.said[-1] == "data: "
    assert f"--file {machine.at(layout.overlay('task'))} " in machine.said[-2]
