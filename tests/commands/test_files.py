"""Files on the server are replaced whole or not at all."""

import stat

from stagetools.deploy.commands import environment, files


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_text_arrives_as_it_is_with_its_mode(machine, layout) -> None:
    path = layout.compose_env("R1")
    machine.run(files.write_text(path, mode="0640"), stdin="größe=1\n\n".encode())
    assert machine.at(path).read_bytes() == "größe=1\n\n".encode()
    assert mode(machine.at(path)) == 0o640
    assert machine.run(files.read_text(path)) == "größe=1\n\n"


def test_a_text_replaces_the_one_before(machine, layout) -> None:
    path = layout.compose_env("R1")
    for text in (b"a longer text", b"short"):
        machine.run(files.write_text(path), stdin=text)
    assert machine.at(path).read_bytes() == b"short"
    assert [p.name for p in machine.at(layout.releases_dir).iterdir()] == ["R1.env"]


def test_a_text_replaces_a_link_and_not_what_it_leads_to(machine, layout) -> None:
    path, target = layout.compose_env("R1"), machine.root / "target"
    target.write_text("kept")
    machine.at(path).symlink_to(target)
    machine.run(files.write_text(path), stdin=b"new")
    assert target.read_text() == "kept"
    assert machine.at(path).read_bytes() == b"new"


def test_a_file_that_is_not_there_reads_as_nothing(machine, layout) -> None:
    assert machine.run(files.read_text(layout.compose_env("none"))) == ""


def test_the_environment_is_roots_alone_and_never_empty(machine, layout) -> None:
    machine.run(environment.write(layout, 6), stdin=b'A="1"\n')
    assert mode(machine.at(layout.env_file)) == 0o600
    assert machine.attempt(environment.write(layout, 6), b"").returncode != 0
    assert machine.run(environment.read(layout)) == 'A="1"\n'


def test_an_environment_that_cannot_be_written_stays(machine, layout) -> None:
    machine.run(environment.write(layout, 6), stdin=b'A="1"\n')
    machine.program("sync", "exit 1")  # as on a full disk
    assert machine.attempt(environment.write(layout, 6), b'A="2"\n').returncode != 0
    assert machine.at(layout.env_file).read_text() == 'A="1"\n'


def test_no_secret_is_among_the_words(layout) -> None:
    for command in (environment.read(layout), environment.write(layout, 6)):
        assert "SECRET" not in command.text
