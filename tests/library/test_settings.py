"""Where the settings' values come from, and what production refuses to start with."""

import json
import secrets
from pathlib import Path

import pytest

from stagetools.config import Config
from stagetools.errors import ConfigError
from stagetools.secret_key import MIN_DISTINCT, MIN_LENGTH, why_unfit
from tests.library.sites import Site

GOOD_KEY = secrets.token_urlsafe(50)


def config(file: str = "", **environment: str) -> Config:
    return Config.of("no-such-project", environment | {"STAGETOOLS_CONFIG": file})


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    file = tmp_path / "settings.ini"
    file.write_text(
        "[settings]\nLOG_LEVEL = DEBUG\nemail_host = mail.example.com\n"
        "SECRET_KEY = 50%#;!'\n[more]\nALLOWED_HOSTS =\n  a.example.com\n  b.example.com\n"
    )
    return file


def test_the_environment_comes_before_the_file_and_that_before_the_default(
    ini: Path,
) -> None:
    values = config(str(ini), LOG_LEVEL="ERROR")
    assert values.text("LOG_LEVEL") == "ERROR"
    assert values.text("EMAIL_HOST") == "mail.example.com"
    assert values.text("SERVER_EMAIL", "nobody") == "nobody"


def test_a_key_in_the_file_may_hold_any_sign(ini: Path) -> None:
    assert config(str(ini)).text("SECRET_KEY") == "50%#;!'"


def test_a_list_is_parted_at_commas_or_lines(ini: Path) -> None:
    assert config(str(ini)).words("ALLOWED_HOSTS") == ["a.example.com", "b.example.com"]
    assert config(ALLOWED_HOSTS="a, b ,").words("ALLOWED_HOSTS") == ["a", "b"]


def test_an_empty_variable_is_a_value(ini: Path) -> None:
    assert config(str(ini), EMAIL_HOST="").text("EMAIL_HOST", "other") == ""


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.ini"):
        config(str(tmp_path / "missing.ini"))


def test_a_file_that_is_no_ini_file_is_refused_without_its_content(
    tmp_path: Path,
) -> None:
    file = tmp_path / "settings.ini"
    file.write_text("SECRET_KEY=abc\n")
    with pytest.raises(ConfigError) as refused:
        config(str(file))
    assert "abc" not in str(refused.value)
    assert str(file) in str(refused.value)


def test_no_value_shows_in_the_representation(ini: Path) -> None:
    shown = repr(config(str(ini), SECRET_KEY="hidden-one"))
    assert "hidden-one" not in shown
    assert "mail.example.com" not in shown


@pytest.mark.parametrize(
    ("word", "value"), [("on", True), ("TRUE", True), ("0", False), ("", False)]
)
def test_a_flag_is_on_or_off(word: str, value: bool) -> None:
    assert config(STAGETOOLS_TLS=word).flag("STAGETOOLS_TLS", default=True) is value


def test_a_value_of_the_wrong_kind_is_refused_by_name() -> None:
    values = config(HSTS_SECONDS="a year", STAGETOOLS_TLS="maybe", LEVEL="LOUD")
    with pytest.raises(ConfigError, match="HSTS_SECONDS"):
        values.number("HSTS_SECONDS", 0)
    with pytest.raises(ConfigError, match="STAGETOOLS_TLS"):
        values.flag("STAGETOOLS_TLS", default=True)
    with pytest.raises(ConfigError, match="LEVEL"):
        values.choice("LEVEL", ("LOW", "HIGH"), "LOW")


# --- production -----------------------------------------------------------------------

UNFIT = {
    "missing": None,
    "empty": "",
    "blank": "  ",
    "Django's placeholder": "django-insecure-" + GOOD_KEY,
    "somebody's placeholder": "ChangeMe" * 8,
    "another": "<your_secret_key_goes_here_and_is_long_enough_to_pass>",
    "short": GOOD_KEY[: MIN_LENGTH - 1],
    "monotonous": "abcd" * 20,
}


@pytest.mark.parametrize("key", [key or "" for key in UNFIT.values()], ids=list(UNFIT))
def test_an_unfit_key_is_called_unfit(key: str) -> None:
    assert why_unfit(key.strip())


def test_the_rules_for_keys_are_djangos_own() -> None:
    from django.core.checks.security import base

    assert base.SECRET_KEY_MIN_LENGTH == MIN_LENGTH
    assert base.SECRET_KEY_MIN_UNIQUE_CHARACTERS == MIN_DISTINCT
    assert not why_unfit(GOOD_KEY)


@pytest.mark.parametrize("kind", ["missing", "empty", "Django's placeholder", "short"])
@pytest.mark.parametrize("stage", ["shop_prod", "shop_qual"])
def test_production_refuses_an_unfit_key_by_its_variables_name(
    production: Site, kind: str, stage: str
) -> None:
    production.variables["STAGETOOLS_SYSTEM"] = stage
    key = UNFIT[kind]
    del production.variables["SECRET_KEY"]
    done = production.run(
        "manage.py", "check", **({} if key is None else {"SECRET_KEY": key})
    )
    assert done.returncode == 2
    assert done.stderr.startswith("SECRET_KEY ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert not key or key not in done.stderr


@pytest.mark.parametrize("hosts", ["", " , "])
def test_production_refuses_to_answer_to_no_name(production: Site, hosts: str) -> None:
    done = production.run("manage.py", "check", ALLOWED_HOSTS=hosts)
    assert done.returncode == 2
    assert done.stderr.startswith("ALLOWED_HOSTS ")
    assert "Traceback" not in done.stderr


def test_djangos_deploy_check_has_nothing_to_say(production: Site) -> None:
    done = production.run(
        "-W", "error", "manage.py", "check", "--deploy", "--fail-level", "INFO"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_the_settings_file_suffices_for_production(
    production: Site, tmp_path: Path
) -> None:
    file = tmp_path / "settings.ini"
    file.write_text(f"[s]\nSECRET_KEY = {GOOD_KEY}\nALLOWED_HOSTS = a.example.com\n")
    for name in ("SECRET_KEY", "ALLOWED_HOSTS"):
        del production.variables[name]
    loaded = production.settings(
        "ALLOWED_HOSTS", "SECRET_KEY", STAGETOOLS_CONFIG=str(file)
    )
    assert loaded == {"ALLOWED_HOSTS": ["a.example.com"], "SECRET_KEY": GOOD_KEY}


def test_a_stage_without_tls_asks_no_browser_for_it(production: Site) -> None:
    """Secure cookies would not come back over plain HTTP, and nobody could log in."""
    names = (
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
    )
    assert not any(production.settings(*names, STAGETOOLS_TLS="off").values())
    assert all(production.settings(*names).values())


def test_a_fresh_checkout_works_without_any_variable(site: Site) -> None:
    loaded = site.settings("DEBUG", "SECURE_SSL_REDIRECT", "WSGI_APPLICATION")
    assert loaded == {
        "DEBUG": True,
        "SECURE_SSL_REDIRECT": False,
        "WSGI_APPLICATION": None,
    }
    done = site.run("-W", "error", "manage.py", "migrate", "-v0")
    assert done.returncode == 0, done.stderr
    assert (site.root / "data/shop.sqlite3").exists()


def test_sqlite_is_set_as_it_was_measured(production: Site) -> None:
    databases = production.settings("DATABASES")["DATABASES"]
    options = databases["default"]["OPTIONS"]
    assert databases["default"]["CONN_MAX_AGE"] is None
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode = WAL" in options["init_command"]
    assert (
        "synchronous = FULL" in options["init_command"]
    )  # no power cut takes a commit
    faster = production.settings("DATABASES", SQLITE_SYNCHRONOUS="normal")["DATABASES"]
    assert "synchronous = NORMAL" in faster["default"]["OPTIONS"]["init_command"]


def test_under_asgi_no_connection_is_kept(production: Site) -> None:
    code = (
        "import stagetools.asgi; from django.conf import settings;"
        "print(settings.DATABASES['default']['CONN_MAX_AGE'])"
    )
    done = production.run("-c", code)
    assert done.stdout.strip() == "0", done.stderr


def test_errors_are_mailed_where_somebody_and_a_server_are_named(
    production: Site,
) -> None:
    who = {"ADMINS": "ada@example.com", "EMAIL_HOST": "mail.example.com"}
    loaded = production.settings("LOGGING", "ADMINS", "SERVER_EMAIL", **who)
    assert loaded["LOGGING"]["root"]["handlers"] == ["stdout", "mail_admins"]
    assert "ada@example.com" in json.dumps(loaded["ADMINS"])
    assert loaded["SERVER_EMAIL"] == "shop@shop.example.com"
    who["EMAIL_HOST"] = ""
    loaded = production.settings("LOGGING", **who)
    assert loaded["LOGGING"]["root"]["handlers"] == ["stdout"]


def test_a_project_on_django_5_2_needs_django_csp() -> None:
    from stagetools.settings import csp

    assert csp.csp_middleware((6, 1, 0), is_debug=False)[0].startswith("django.")


def test_production_does_without_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    from stagetools.settings import csp

    monkeypatch.setattr(csp, "find_spec", lambda name: None)
    assert csp.csp_middleware((5, 2, 0), is_debug=True) == []
    with pytest.raises(ConfigError, match="django-csp"):
        csp.csp_middleware((5, 2, 0), is_debug=False)
