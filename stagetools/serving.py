"""What `stagetools.wsgi` and `stagetools.asgi` do before they serve anybody."""

from stagetools.errors import ConfigError
from stagetools.naming.system import Source, System

__all__ = ["load_urls", "refuse_unnamed"]


def refuse_unnamed(system: System) -> None:
    """A server never guesses what it is: ConfigError, unless somebody gave a name.

    For a debug stage the name of a directory will not do: it shows settings and source to
    whoever makes an error, so somebody must have written the name down.
    """
    if system.source is Source.FALLBACK:
        raise _refusal(f"No name was given, and a server does not guess {system.name}.")
    if system.is_debug and not system.source.is_explicit:
        raise _refusal(
            f"{system.name} is a debug stage, and only {system.source} says so:"
            f" {system.base_dir}."
        )


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        what,
        remedy="Set STAGETOOLS_SYSTEM in the environment to the installation's name,"
        " such as shop_prod.",
    )


def load_urls() -> None:
    """Import every view now: Django would at the first request, when it is too late."""
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - reading it is what imports them
