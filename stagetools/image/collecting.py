"""Static files as the image collects them: `python -m stagetools.image.collecting DIRECTORY`.

For `inv check`, which sees so what a build would see; it hashes them too, and tells what will
be otherwise in the image than here. A build calls `set_up` and `collect` (`source.py`).
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from stagetools.image import findings, static
from stagetools.image.watching import Watch
from stagetools.naming.system import BUILD

__all__ = ["collect", "main", "name_places", "set_up"]


def main(directory: str) -> None:
    """Collect, hash, and print what is worth knowing; exit 1 where a build would end."""
    name_places(directory)
    watch = Watch(Path.cwd())
    set_up()
    watch.end()
    sources = collect(directory)
    for line in findings.lines(Path.cwd(), sources, watch):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    cache = Path(f"{directory}.cache")
    cache.mkdir(exist_ok=True)
    words = [sys.executable, "-P", static.__file__, directory, str(cache)]
    sys.exit(subprocess.run(words, check=False).returncode)


def name_places(directory: str) -> None:
    """A production stage, with a key that lives no longer than this process.

    Where static files are is said before anything reads the settings: a project may make a
    storage, or ask one for an address, while it is imported.
    """
    os.environ["STAGETOOLS_SYSTEM"] = BUILD
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
    os.environ["ALLOWED_HOSTS"] = "localhost"
    os.environ["STATIC_ROOT"] = directory
    os.environ["STAGETOOLS_STATIC_FILES"] = "plain"


def set_up() -> None:
    """Import the settings, and start Django."""
    sys.path.insert(0, ".")
    import aaa_env_setup  # noqa: F401 - names the settings module
    import django

    django.setup()


def collect(directory: str) -> dict[str, str]:
    """Collect static files as they are, whatever STORAGES says; each name's source.

    Hashing them is another step's.
    """
    from django.conf import settings
    from django.contrib.staticfiles.storage import StaticFilesStorage
    from django.core.management import call_command, get_commands, load_command_class

    sources: dict[str, str] = {}
    Path(directory).mkdir(parents=True, exist_ok=True)  # also where there are none
    application = get_commands().get("collectstatic")
    if not application:
        return sources
    command = (
        load_command_class(application, "collectstatic")
        if isinstance(application, str)
        else application
    )
    copy = command.copy_file

    def noted(path: str, name: str, storage: StaticFilesStorage) -> None:
        sources[name] = storage.path(path)
        copy(path, name, storage)

    command.storage, command.copy_file = StaticFilesStorage(location=directory), noted
    call_command(command, interactive=False, verbosity=0)
    if not getattr(settings, "WHITENOISE_MANIFEST_STRICT", True):
        (Path(directory) / static.LENIENT).touch()
    return sources


if __name__ == "__main__":
    main(sys.argv[1])
