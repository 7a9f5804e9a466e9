"""Settings for mail; Django 6.1 keeps them in MAILERS, earlier ones in EMAIL_*."""

from typing import Any

from stagetools.config import Config
from stagetools.naming.system import System

__all__ = ["mail_settings"]

_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_CONSOLE = "django.core.mail.backends.console.EmailBackend"
_TIMEOUT = 10  # seconds; Django's default waits for ever, and a request with it


def mail_settings(
    system: System, config: Config, hosts: list[str], version: tuple[Any, ...]
) -> dict[str, Any]:
    """How mail leaves, from whom, and who hears of errors."""
    sender = f"{system.core_repo}@{_domain(hosts)}"
    admins = config.words("ADMINS")
    return {
        "DEFAULT_FROM_EMAIL": config.text("DEFAULT_FROM_EMAIL", sender),
        "SERVER_EMAIL": config.text("SERVER_EMAIL", sender),
        "EMAIL_SUBJECT_PREFIX": f"[{system.name}] ",
        "ADMINS": admins if version[:2] >= (6, 0) else [(who, who) for who in admins],
        **_transport(system, config, version),
    }


def _domain(hosts: list[str]) -> str:
    return hosts[0].lstrip(".*") or "localhost" if hosts else "localhost"


def _transport(
    system: System, config: Config, version: tuple[Any, ...]
) -> dict[str, Any]:
    """A debug stage without a mail server prints its mails."""
    is_printed = system.is_debug and not config.text("EMAIL_HOST")
    if version[:2] >= (6, 1):
        printed = {"BACKEND": _CONSOLE}
        smtp = {"BACKEND": _SMTP, "OPTIONS": _smtp_options(config)}
        return {"MAILERS": {"default": printed if is_printed else smtp}}
    backend = {"EMAIL_BACKEND": _CONSOLE if is_printed else _SMTP}
    options = _smtp_options(config).items()
    return backend | {_SETTING_OF[option]: value for option, value in options}


_SETTING_OF = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "timeout": "EMAIL_TIMEOUT",
}


def _smtp_options(config: Config) -> dict[str, Any]:
    return {
        "host": config.text("EMAIL_HOST") or "localhost",
        "port": config.number("EMAIL_PORT", 25),
        "username": config.text("EMAIL_HOST_USER"),
        "password": config.text("EMAIL_HOST_PASSWORD"),
        "use_tls": config.flag("EMAIL_USE_TLS", default=False),
        "use_ssl": config.flag("EMAIL_USE_SSL", default=False),
        "timeout": _TIMEOUT,
    }
