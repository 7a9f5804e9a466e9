"""A task starts from what its steps start from."""

from tests.steps.conftest import (
    at,
    bare,
    config,
    deployed,
    layout,
    ready,
    refused,
    remembered_commands,
)

__all__ = [
    "at",
    "bare",
    "config",
    "deployed",
    "layout",
    "ready",
    "refused",
    "remembered_commands",
]
