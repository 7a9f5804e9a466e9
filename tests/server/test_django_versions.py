"""The library's own tests on the other Django that a project may choose.

The one that is installed beside these tests is asked by them; before a release `RELEASE=1`
asks it in the image's Python as well.
"""

import os
from pathlib import Path

import pytest

from tests.server.machines import docker

REPOSITORY = Path(__file__).parents[2]
TOOLS = (
    "pytest hypothesis pytest-django pytest-randomly pytest-xdist flask starlette"
    " uvicorn hypercorn websockets gunicorn 'whitenoise[brotli]' 'django-csp>=4,<5'"
)


VERSIONS = ["5.2", "6.1"] if os.environ.get("RELEASE") else ["6.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_library_keeps_its_promises_on_this_django(version: str) -> None:
    """In a container with the Python that the image of a project has."""
    command = (
        "apt-get update -qq; apt-get install -qq -y --no-install-recommends git >/dev/null;"
        "python -m venv /tmp/venv; . /tmp/venv/bin/activate;"
        f"pip install -q 'django~={version}.0' {TOOLS};"
        "mkdir /tmp/copy; cd /tmp/copy;"
        "tar -C /repository --exclude=./.venv --exclude=./.git -c . | tar -x;"
        "python -m pytest -q -n2 -p no:cacheprovider tests/library"
    )
    mount = f"{REPOSITORY}:/repository:ro"
    image = "python:3.13-slim"
    said = docker(
        "run", "--rm", "--tmpfs", "/tmp:exec", "--volume", mount, "--env", "PYTHONDONTWRITEBYTECODE=1",
        image, "sh", "-euc", command,
    )  # fmt: skip
    assert " passed" in said.splitlines()[-1]
    assert "skipped" not in said.splitlines()[-1]
