"""What the template asks, what it refuses, and with which reason."""

import shutil
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.cases import one_fast
from tests.template.matrix import questions

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = [
    "project_name",
    "project_slug",
    "domain",
    "host",
    "email",
    "database",
    "django",
    "settings_module",
    "python",
]
LONG = "a" * 25
STAGES = ["prod", "qual", "int", "dev"]
REFUSED = [
    ("project_name", "", "empty"),
    ("project_name", "x" * 61, "60 is the most"),
    ("project_name", "Two\nlines", "line break"),
    ("project_name", "Bell \a", "cannot be printed"),
    ("project_name", "Line\u2028separator", "cannot be printed"),
    ("project_name", "Turned \u202e round", "cannot be printed"),
    ("project_name", " My Site", "space"),
    ("project_name", "My Site ", "space"),
    ("project_name", "{{ 7 * 7 }}", "curly bracket"),
    ("project_name", "{% include 'x' %}", "curly bracket"),
    ("project_slug", "", "lower-case letters"),
    ("project_slug", "x", "two or more"),
    ("project_slug", "My Site", "lower-case letters"),
    ("project_slug", "MySite", "lower-case letters"),
    ("project_slug", "my-site", "underscores"),
    ("project_slug", "9lives", "a letter first"),
    ("project_slug", "_mysite", "a letter first"),
    ("project_slug", "mysite_", "no underscore last"),
    ("project_slug", "my__site", "two underscores"),
    ("project_slug", "mysite\n", "lower-case letters"),
    ("project_slug", "mÿsite", "lower-case letters"),
    ("project_slug", "../mysite", "lower-case letters"),
    ("project_slug", "{{ 7 }}", "lower-case letters"),
    ("project_slug", LONG, "24 is the most"),
    *(("project_slug", word, "taken") for word in ["class", "match", "none", "async"]),
    *(("project_slug", word, "taken") for word in ["json", "site", "email", "string"]),
    *(("project_slug", word, "taken") for word in ["django", "stagetools", "pytest"]),
    *(("project_slug", word, "taken") for word in ["tasks", "manage", "test", "data"]),
    *(("project_slug", word, "taken") for word in ["admin", "auth", "python", "caddy"]),
    *(("project_slug", f"shop_{stage}", "Leave the stage out") for stage in STAGES),
    ("domain", "", "empty"),
    ("domain", "https://example.com", "without https://"),
    ("domain", "example.com/shop", "without https://"),
    ("domain", "example.com:8000", "a port"),
    ("domain", "Example.com", "lower case"),
    ("domain", "localhost", "at least one dot"),
    ("domain", "203.0.113.7", "no domain name"),
    ("domain", "example..com", "no domain name"),
    ("domain", "-a.example.com", "no domain name"),
    ("domain", "a-.example.com", "no domain name"),
    ("domain", "my_site.example.com", "no domain name"),
    ("domain", "example.com.", "no domain name"),
    ("domain", "bücher.example", "xn--"),
    ("domain", "exa mple.com", "no domain name"),
    ("domain", 'x".example.com', "no domain name"),
    ("domain", "{$home}.example.com", "no domain name"),
    ("domain", "example.com\n", "no domain name"),
    ("domain", "a." * 39 + "com", "80 is the most"),
    ("host", "root@203.0.113.7", "deploy.toml"),
    ("host", "203.0.113.7:22", "IPv6"),
    ("host", "[2001:db8::7]", "without brackets"),
    ("host", "2001:db8:::7", "IPv6"),
    ("host", "1:2:3:4:5:6:7:8:9", "IPv6"),
    ("host", "1::2::3", "IPv6"),
    ("host", "12345::", "IPv6"),
    ("host", "203.0.113", "IPv4"),
    ("host", "203.0.113.256", "IPv4"),
    ("host", "-oProxyCommand=x", "no server"),
    ("host", "a b", "no server"),
    ("host", 'a"b', "no server"),
    ("host", "a;b", "no server"),
    ("host", "server\n", "no server"),
    ("host", "x" * 254, "no server"),
    ("email", "webmaster", "no e-mail address"),
    ("email", "webmaster@localhost", "no e-mail address"),
    ("email", "two@at@example.com", "no e-mail address"),
    ("email", 'a"b@example.com', "no e-mail address"),
    ("email", "a b@example.com", "no e-mail address"),
    ("email", "{x}@example.com", "no e-mail address"),
    ("email", "a@example.com\n", "no e-mail address"),
    ("email", "a" * 250 + "@example.com", "no e-mail address"),
    ("database", "postgresql", "Not yet"),
    ("database", "mysql", "choice"),
    ("django", "4.2", "choice"),
    ("python", "3.10", "choice"),
    ("settings_module", "shop/settings", "with dots"),
    ("settings_module", "shop.settings.py", "without .py"),
    ("settings_module", "shop..settings", "no module"),
    ("settings_module", ".settings", "no module"),
    ("settings_module", "shop.settings.", "no module"),
    ("settings_module", "my-shop.settings", "no module"),
    ("settings_module", "shop.settings\n", "no module"),
    ("settings_module", "shöp.settings", "no module"),
    ("settings_module", "shop.settings; import os", "no module"),
    ("settings_module", "{{ 7 }}.settings", "no module"),
    ("settings_module", "shop.class", "word of Python"),
    ("settings_module", "None.settings", "word of Python"),
    ("settings_module", "shop." * 50 + "settings", "200 is the most"),
    ("settings_module", "stagetools_project.settings", "project's own settings"),
    ("settings_module", "django.conf", "project's own settings"),
]
TAKEN = [
    ("project_name", """O'Neill & "Söhne" \\ <b>日本</b> 👩‍🚀 # *"""),
    ("project_slug", "ab"),
    ("project_slug", "a" * 24),
    ("project_slug", "blue_heron2"),
    ("project_slug", "reprod"),
    ("project_slug", "shop_product"),
    ("domain", "a.b"),
    ("domain", "xn--bcher-kva.example"),
    ("domain", "www.my-site.example.com"),
    ("host", ""),
    ("host", "server"),
    ("host", "My_Server.internal"),
    ("host", "203.0.113.7"),
    ("host", "2001:db8::7"),
    ("host", "::1"),
    ("host", "2001:DB8:0:0:0:0:0:7"),
    ("settings_module", "shop.settings"),
    ("settings_module", "settings"),
    ("settings_module", "config.settings.production"),
    ("settings_module", "Shop_2.match.settings"),
    ("email", ""),
    ("email", "first.last+site@mail.example.com"),
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions alone: a template that renders nothing but the answers."""
    folder = tmp_path_factory.mktemp("questions")
    (folder / "template").mkdir()
    shutil.copy(ROOT / "copier.yml", folder)
    for name in ("_reserved_names.jinja", "{{_copier_conf.answers_file}}.jinja"):
        shutil.copy(ROOT / "template" / name, folder / "template")
    return folder


def answer(asked: Path, into: Path, **answers: str) -> dict[str, Any]:
    copier.run_copy(str(asked), into, data=answers, defaults=True, quiet=True)
    return yaml.safe_load((into / ".copier-answers.yml").read_text())


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "copier.yml").read_text())


def test_there_are_nine_questions_in_the_order_of_thought():
    """Nobody is asked more than eight: two are of who starts, and one of who adopts."""
    assert list(questions()) == QUESTIONS
    some = [name for name, asked in questions().items() if "when" in asked]
    assert some == ["project_name", "django", "python"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_a_help_text_a_default_and_a_validator(config, name):
    assert {"help", "default", "validator"} <= set(config[name])
    assert config[name]["help"][-1] in "?."


def test_nothing_in_the_template_wants_trust(config):
    unsafe = {"_tasks", "_migrations", "_jinja_extensions", "_external_data"}
    assert not unsafe & set(config)


@pytest.mark.parametrize(
    ("question", "value", "reason"),
    one_fast(REFUSED, kind=lambda case: (case[0], case[2])),
)
def test_a_hostile_answer_is_refused_with_a_reason(
    asked, tmp_path, question, value, reason
):
    with pytest.raises(ValueError, match=r"(?i)validation|invalid") as refusal:
        answer(asked, tmp_path / "project", **{question: value})
    assert reason in str(refusal.value)
    assert not (tmp_path / "project" / ".copier-answers.yml").exists()


AT_ODDS = {"project_name", "settings_module"}  # the first is not asked beside the other


def rounds() -> list[dict[str, str]]:
    """All that is taken, in as few projects as there are values of one question."""
    made: list[dict[str, str]] = []
    for question, value in TAKEN:
        beside = AT_ODDS if question in AT_ODDS else {question}
        free = next((answers for answers in made if not beside & set(answers)), None)
        if free is None:
            made.append(free := {})
        free[question] = value
    return made


@pytest.mark.parametrize("answers", rounds())
def test_an_unusual_answer_is_taken_as_it_is(asked, tmp_path, answers):
    assert answers.items() <= answer(asked, tmp_path, **answers).items()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Site", "mysite"),
        ("Blue Heron", "blueheron"),
        ("9 Lives", "lives"),
        ("A very long name indeed, for a site", "averylongnameindeedforas"),
        ("Django", "mysite"),
        ("Ü", "mysite"),
        ("日本", "mysite"),
    ],
)
def test_the_short_name_is_made_from_the_long_one_if_that_is_possible(
    asked, tmp_path, name, slug
):
    answers = answer(asked, tmp_path, project_name=name)
    assert answers["project_slug"] == slug


def test_the_menu_of_databases_lets_nobody_choose_one_that_is_yet_to_come(
    asked, tmp_path
):
    """A question's validator does not run for a menu: PostgreSQL was taken, and not rendered."""
    others = {name: "" for name in ("host", "email", "settings_module")}
    others |= {"project_name": "Shop", "project_slug": "shop", "domain": "shop.test"}
    with create_pipe_input() as keys, create_app_session(keys, DummyOutput()):
        keys.send_text("\x1b[B\r")  # down, return
        copier.run_copy(
            str(asked), tmp_path, data=others | {"django": "5.2"}, quiet=True
        )
    answers = yaml.safe_load((tmp_path / ".copier-answers.yml").read_text())
    assert answers["database"] == "sqlite"


def test_a_domain_is_suggested_that_has_no_underscore(asked, tmp_path):
    answers = answer(asked, tmp_path, project_slug="blue_heron")
    assert answers["domain"] == "blue-heron.example.com"


def test_an_adopter_is_not_asked_what_the_project_says_already(asked, tmp_path):
    answers = answer(asked, tmp_path, settings_module="shop.settings", python="3.12")
    assert not {"project_name", "django"} & set(answers)
    assert (answers["project_slug"], answers["python"]) == ("shop", "3.12")


def test_who_starts_a_project_is_not_asked_for_its_python(asked, tmp_path):
    answers = answer(asked, tmp_path)
    assert "python" not in answers
    assert {"project_name", "django"} <= set(answers)
