"""A task starts from what its steps start from."""

from tests.steps.conftest import (
    at,
    bare,
    config,
    deployed,
    layout,
    named_commands,
    ready,
    refused,
)

__all__ = [
    "at",
    "bare",
    "config",
    "deployed",
    "layout",
    "named_commands",
    "ready",
    "refused",
]
