"""What is said of what serves, and of its database: worked out from what happened."""

from typing import Any

import pytest

from stagetools.deploy.standing import Standing

OLD_GOES_ON = "R1 goes on serving."
NOT_TOUCHED = "Its database was not touched."
TWO = "Applied to the live database: shop.0002, shop.0003."
PARTLY = "shop.0003 is not atomic, and may stand in the live database in part."
UNSURE = (
    "Whether the migration under way was applied to the live database is not known here:"
    " the next deploy looks."
)
KEPT = "The database as it was before is kept: /b/before-R2.sqlite3."
EITHER = (
    "Either R1 or the new release serves now, each with its own database:"
    " inv status says which."
)
COPY = {"snapshot": "/b/before-R2.sqlite3"}
APPLIED = {"applied": ["shop.0002", "shop.0003"]}

ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("nothing was done", {}, f"{OLD_GOES_ON} {NOT_TOUCHED}"),
    ("only a snapshot was made", COPY, f"{OLD_GOES_ON} {NOT_TOUCHED}"),
    (
        "nothing served before",
        {"before": "", "serves": ""},
        "No release serves, and none did before.",
    ),
    (
        "a first release was migrated, and never served",
        {"before": "", "serves": "", **APPLIED},
        "No release serves, and none did before.",
    ),
    ("live migrations passed", APPLIED, f"{OLD_GOES_ON} {TWO}"),
    ("with a snapshot", APPLIED | COPY, f"{OLD_GOES_ON} {TWO} {KEPT}"),
    (
        "the second may stand in part",
        {"applied": ["shop.0002"], "partly": "shop.0003"},
        f"{OLD_GOES_ON} Applied to the live database: shop.0002. {PARTLY}",
    ),
    (
        "the first may stand in part",
        {"partly": "shop.0003", **COPY},
        f"{OLD_GOES_ON} {PARTLY} {KEPT}",
    ),
    (
        "the migration was killed",
        {"migrating": True, **COPY},
        f"{OLD_GOES_ON} {UNSURE} {KEPT}",
    ),
    (
        "the connection was lost in a live migration",
        {"migrating": True, "lost": True, **APPLIED},
        f"{OLD_GOES_ON} {TWO} {UNSURE}",
    ),
    (
        "visitors still wait",
        {"held": True},
        f"Visitors still wait for R1: the next task ends that. {NOT_TOUCHED}",
    ),
    (
        "visitors waited when the connection was lost",
        {"held": True, "lost": True},
        "Visitors were waiting; the server lets R1 serve them again by itself, within"
        f" seconds. {NOT_TOUCHED}",
    ),
    (
        "the answer to the switch was lost",
        {"switching": True, "lost": True},
        EITHER,
    ),
    (
        "the same, on a copy",
        {"switching": True, "held": True, "lost": True, **COPY},
        EITHER,
    ),
    (
        "the same, in a first deploy",
        {"switching": True, "before": "", "serves": ""},
        "Either no release or the new release serves now, each with its own database:"
        " inv status says which.",
    ),
    ("it was switched", {"serves": "R2"}, "R2 serves."),
    ("and the migrations are the new one's own", {"serves": "R2", **APPLIED}, "R2 serves."),
    ("in a first deploy", {"before": "", "serves": "R2"}, "R2 serves."),
    (
        "it was switched before the connection was lost",
        {"serves": "R2", "lost": True},
        "R2 served when the connection was lost: inv status says what serves now.",
    ),
    (
        "the connection was lost without anything half done",
        {"lost": True},
        f"{OLD_GOES_ON} {NOT_TOUCHED}",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "happened", "words"), ROWS, ids=[r[0] for r in ROWS])
def test_what_happened_is_said(what: str, happened: dict[str, Any], words: str) -> None:
    standing = Standing(before="R1", serves="R1")
    for name, value in happened.items():
        setattr(standing, name, value)
    assert standing.words() == words


def test_a_switch_ends_every_wait() -> None:
    standing = Standing(before="R1", serves="R1", held=True, switching=True)
    standing.switched("R2")
    assert (standing.serves, standing.held, standing.switching) == ("R2", False, False)
    assert standing.words() == "R2 serves."


def test_what_was_applied_live_is_not_forgotten_by_a_switch_that_is_taken_back() -> (
    None
):
    standing = Standing(before="R1", serves="R1", applied=["shop.0002"])
    standing.switched("R2")
    standing.serves = standing.before
    assert "Applied to the live database: shop.0002." in standing.words()
