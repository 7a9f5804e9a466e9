"""Which cases of a test run at each change, where many go the same way."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pytest


def one_fast(
    cases: Iterable[Any], kind: Callable[[Any], Hashable] = lambda case: ""
) -> list[Any]:
    """The first case of each kind as it is; the others are `slow`, and run in CI."""
    seen: set[Hashable] = set()
    made = []
    for case in cases:
        marks = [pytest.mark.slow] if kind(case) in seen else []
        values = case if isinstance(case, tuple) else (case,)
        made.append(pytest.param(*values, marks=marks))
        seen.add(kind(case))
    return made
