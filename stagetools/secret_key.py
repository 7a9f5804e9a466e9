"""The two values that production may not start without."""

from stagetools.config import Config
from stagetools.naming.system import System

__all__ = ["hosts_of", "secret_key_of", "why_unfit"]

MIN_LENGTH, MIN_DISTINCT = 50, 5  # characters; Django's own check, security.W009
_PLACEHOLDERS = (
    "django-insecure",
    "changeme",
    "change-me",
    "change_me",
    "change me",
    "placeholder",
    "replace-me",
    "replace_me",
    "secret-key",
    "secret_key",
    "your-secret",
    "your_secret",
    "example",
    "insecure",
)
_LOCAL = (".localhost", "127.0.0.1", "[::1]")
_REMEDY = "Set it to the output of `openssl rand -base64 48`"


def secret_key_of(system: System, config: Config) -> str:
    """The key; a debug stage without one has a fixed one, worth nothing anywhere else."""
    key = config.text("SECRET_KEY")
    if system.is_debug:
        return key or f"insecure-{system.name}-has-no-secrets-and-therefore-no-key"
    if problem := why_unfit(key):
        raise config.refusal("SECRET_KEY", problem, _REMEDY)
    return key


def why_unfit(key: str) -> str:
    """Why a key cannot sign anything in production, or nothing."""
    if not key:
        return "is missing or empty"
    if any(word in key.lower() for word in _PLACEHOLDERS):
        return "is a placeholder"
    if len(key) < MIN_LENGTH:
        return f"has {len(key)} characters, fewer than {MIN_LENGTH}"
    if len(set(key)) < MIN_DISTINCT:
        return f"has fewer than {MIN_DISTINCT} different characters"
    return ""


def hosts_of(system: System, config: Config) -> list[str]:
    """The host names that the site answers to."""
    hosts = config.words("ALLOWED_HOSTS")
    if system.is_debug:
        return hosts or list(_LOCAL)
    if not hosts:
        remedy = "Set it to the site's names, separated by commas"
        raise config.refusal("ALLOWED_HOSTS", "is missing or empty", remedy)
    return hosts
