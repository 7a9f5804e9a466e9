"""The Content-Security-Policy: Django's own from 6.0 on, django-csp before."""

from importlib.util import find_spec
from typing import Any

from stagetools.errors import ConfigError

__all__ = ["POLICY", "csp_middleware", "csp_settings"]

# every source is the site itself; what is inline, framed or from elsewhere is not run
POLICY = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
_OWN = (6, 0)


def csp_middleware(version: tuple[Any, ...], *, is_debug: bool) -> list[str]:
    """The middleware that sends the policy; ConfigError if production would have none."""
    if version[:2] >= _OWN:
        return ["django.middleware.csp.ContentSecurityPolicyMiddleware"]
    if find_spec("csp"):
        return ["csp.middleware.CSPMiddleware"]
    if is_debug:
        return []
    raise ConfigError(
        "Django 5.2 sends no Content-Security-Policy of its own.",
        remedy="Install django-csp, version 4: `pip install 'django-csp>=4,<5'`.",
    )


def csp_settings(version: tuple[Any, ...]) -> dict[str, Any]:
    """SECURE_CSP, or what django-csp calls it."""
    if version[:2] >= _OWN:
        return {"SECURE_CSP": dict(POLICY)}
    return {"CONTENT_SECURITY_POLICY": {"DIRECTIVES": dict(POLICY)}}
