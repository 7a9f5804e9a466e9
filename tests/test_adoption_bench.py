"""`bench/adoption`: whose file was changed, and what a project's TOML says."""

from bench.adoption.candidate import read, sort_edits


def test_each_changed_file_is_told_once_by_whose_it_is() -> None:
    own = ["requirements/base.txt", "Dockerfile", "uv.lock", "shop/urls.py"]
    ours = [*own, "hooks/build", "Dockerfile.before"]
    edits = sort_edits(own, ["Dockerfile"], ours)
    assert edits.own == ["shop/urls.py"]
    assert edits.dependencies == ["requirements/base.txt", "uv.lock"]
    assert edits.replaced == ["Dockerfile"]
    assert edits.ours == ["hooks/build"]
    assert str(edits).startswith("1 of its own; dependencies: requirements/base.txt")


def test_a_folder_of_requirements_is_not_the_whole_project() -> None:
    own = ["requirements/sub/views.py", "docs/block.md", "shop/requirements.py"]
    assert sort_edits(own, [], []).own == own


def test_a_source_is_found_beside_its_file(tmp_path) -> None:
    file = tmp_path / "shop.toml"
    answers = 'name = "Blue Heron"\naddress = ""\nsource = "shop"\n'
    file.write_text(f'{answers}settings_module = "shop.settings"\n')
    one = read(file)
    assert one.source == tmp_path / "shop"
    assert one.domain == "blueheron.test"
