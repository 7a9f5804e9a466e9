"""A compose file of the developer's own, in the place of ours and beside it."""

from pathlib import Path

import pytest

from stagetools.deploy.tasks import beside
from stagetools.errors import UsageError

COMPOSE = (Path(__file__).parents[2] / "template/compose.yaml").read_text()
THEIRS = "services:\n  web:\n    build: .\n    ports: ['8000:8000']\n"


def test_a_developers_own_compose_yaml_is_never_deployed(tmp_path: Path) -> None:
    """As it stays where a merge was resolved with theirs: with its port and its commands."""
    (tmp_path / "compose.yaml").write_text(THEIRS)
    with pytest.raises(UsageError, match="not the one that the template") as caught:
        beside.refuse_foreign(tmp_path)
    assert "git mv compose.yaml compose.dev.yaml" in caught.value.remedy


def test_a_file_that_is_not_utf8_is_a_developers_own(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_bytes(b"# caf\xe9\n" + THEIRS.encode())
    assert beside.is_foreign(tmp_path)
    (tmp_path / "compose.yaml").write_bytes(b"# caf\xe9\n" + COMPOSE.encode())
    assert not beside.is_foreign(tmp_path)


@pytest.mark.parametrize("name", ["docker-compose.yml", "compose.yml"])
def test_a_developers_own_file_beside_ours_is_not_passed_over_in_silence(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    assert not beside.shadowed(tmp_path)
    (tmp_path / name).write_text(THEIRS)
    beside.refuse_foreign(tmp_path)
    assert f"docker compose --file {name}" in beside.shadowed(tmp_path)
