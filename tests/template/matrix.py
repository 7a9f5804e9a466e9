"""Every combination of answers that there is, read from copier.yml itself."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HOSTILE_NAME = """O'Neill & "Söhne" \\ <b>日本</b> 👩‍🚀 # *_`~|"""
# A question with choices brings its own values; one of free text, those that differ in kind.
SAMPLES = {
    "project_name": ["My Site", HOSTILE_NAME],
    "project_slug": ["mysite", "blue_heron", "a" * 24],
    "domain": ["mysite.example.com", "www.xn--bcher-kva.example"],
    "host": ["", "2001:db8::7"],
    "email": ["", "first.last+site@mail.example.com"],
    "settings_module": ["", "config.settings"],
}
# What decides on whole files or on code; the others are text in a place or two.
DECIDING = ("database", "django", "settings_module")
# Asked of who adopts a project alone; tests of their own give it values.
OF_ADOPTERS = ("python",)


def questions() -> dict[str, Any]:
    """What copier.yml asks, in its order."""
    config = yaml.safe_load((ROOT / "copier.yml").read_text())
    there = {name: asked for name, asked in config.items() if name[0] != "_"}
    return {name: asked for name, asked in there.items() if asked.get("when", True)}


def values(name: str) -> list[str]:
    """The values of a question; a KeyError for one that nobody thought of here."""
    choices = questions()[name].get("choices")
    if choices is None:
        return SAMPLES[name]
    listed = choices.values() if isinstance(choices, dict) else choices
    return [c["value"] if isinstance(c, dict) else c for c in listed]


def offered(name: str) -> list[str]:
    """The values that a menu lets one choose: none that has a reason why not yet."""
    choices = questions()[name].get("choices")
    listed = choices.values() if isinstance(choices, dict) else choices or values(name)
    return [choice for choice in listed if not isinstance(choice, dict)]


def combinations() -> Iterator[dict[str, str]]:
    """All combinations of the deciding answers, each with one of the others' turns.

    The text answers go round, so that each of their values meets each deciding one.
    """
    texts = [name for name in questions() if name not in (*DECIDING, *OF_ADOPTERS)]
    rounds = max(len(values(name)) for name in texts)
    for chosen in itertools.product(*(offered(name) for name in DECIDING)):
        for turn in range(rounds):
            others = {name: values(name)[turn % len(values(name))] for name in texts}
            yield others | dict(zip(DECIDING, chosen, strict=True))


def label(answers: dict[str, str]) -> str:
    """A test's id: the deciding answers and the short name."""
    words = [answers[name] or "new" for name in DECIDING]
    return "-".join([*words, answers["project_slug"][:10]])
