"""The words that users read are a list of their own, so that a review sees each change of them."""

import ast
import re

import pytest

from tests import messages

LISTED = messages.LIST.read_text(encoding="utf-8").splitlines()


def test_every_message_is_in_the_list_as_it_stands_in_the_code() -> None:
    """After a change of words: `python tests/messages.py --write`, and read the difference."""
    assert messages.messages() == LISTED


# What a person whose first language is another would have to look up, or read twice.
RIDDLES = r"\bmend|\bparted\b|Go on\?|unforeseen|\bwants (a|an|the)\b|contract\b|\bwholly\b|\bsick\b"


def test_words_are_those_of_the_field() -> None:
    assert [text for text in LISTED if re.search(RIDDLES, text)] == []


def test_a_question_that_goes_on_ends_in_the_same_word() -> None:
    asked = [text for text in LISTED if re.search(r"[a-z)]\. [A-Z]\w+( on)?\?$", text)]
    assert {text.rsplit(" ", 1)[1] for text in asked} <= {"Continue?", "it?"}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise E(f"{a.name} is not {b!r}.")', ["{name} is not {b}."]),
        ('raise E("one " "sentence")', ["one sentence"]),
        ('"""Documentation that nobody is told."""', []),
        ('re.compile("a pattern of words")', []),
        ("say(f\"so {'it is' if a else b}\")", ["so {…}", "it is"]),
        ("""script('echo "it failed here" >&2')""", ["it failed here"]),
    ],
)
def test_the_list_is_made_of_what_is_told(code: str, found: list[str]) -> None:
    assert sorted(messages._in_python(ast.parse(code))) == sorted(found)
