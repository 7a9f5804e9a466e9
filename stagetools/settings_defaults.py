"""What Django's settings are unless a project says otherwise; DATABASES is another module's.

`from stagetools.settings_defaults_with_sqlite import *` stands first in a project's settings;
what follows it there wins. Values come from the environment, then from the settings file
(see `stagetools.config`), then from the stage. Outside debug stages the first two must be set.

    SECRET_KEY               at least 50 characters, made by a machine
    ALLOWED_HOSTS            host names that the site answers to, separated by commas
    SECRET_KEY_FALLBACKS     earlier keys, separated by commas; a key may hold no comma then
    CSRF_TRUSTED_ORIGINS     other origins that may post forms, `https://pay.example.com`
    STAGETOOLS_TLS           on; off for a site that is served over plain HTTP. Debug: off
    HSTS_SECONDS             31536000 (a year): how long browsers insist on HTTPS
    HSTS_INCLUDE_SUBDOMAINS  off: they may be somebody else's, or have no certificate yet
    HSTS_PRELOAD             off: it cannot be taken back for months
    STATIC_ROOT, MEDIA_ROOT  static/ and media/ in the installation's base directory
    STAGETOOLS_STATIC_ARCHIVE  static-archive/ there: hashed files of earlier releases
    STAGETOOLS_STATIC_FILES  hashed (names with a hash, compressed) or plain. Debug: plain
    ADMINS                   addresses that get a mail for each error; needs EMAIL_HOST
    EMAIL_HOST, EMAIL_PORT   localhost, and 25. Debug without EMAIL_HOST: mails are printed
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL    none, off
    DEFAULT_FROM_EMAIL, SERVER_EMAIL    <core_repo>@ the first of ALLOWED_HOSTS
    LOG_LEVEL                INFO
    STAGETOOLS_RELEASE       the release's name, shown and logged; empty unless deployed
"""

import aaa_env_setup
import django

from stagetools.config import Config
from stagetools.naming.system import System
from stagetools.secret_key import hosts_of, secret_key_of
from stagetools.settings.csp import csp_middleware, csp_settings
from stagetools.settings.logs import logging_settings
from stagetools.settings.mail import mail_settings

SYSTEM: System = aaa_env_setup.SYSTEM
CONFIG = Config.of(SYSTEM.core_repo)

DEBUG = SYSTEM.is_debug
RELEASE = CONFIG.text("STAGETOOLS_RELEASE")
SECRET_KEY = secret_key_of(SYSTEM, CONFIG)
SECRET_KEY_FALLBACKS = CONFIG.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = hosts_of(SYSTEM, CONFIG)

# --- the application ------------------------------------------------------------------

ROOT_URLCONF = SYSTEM.django_rooturls
# runserver would import it; without one it makes its own, and needs no name to do so
WSGI_APPLICATION = None if DEBUG else SYSTEM.django_wsgi_application
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_I18N = True
USE_TZ = True
MIDDLEWARE = [
    "stagetools.requests.RequestMiddleware",  # outermost: it times and names all the rest
    "stagetools.health.HealthMiddleware",  # before any check of host name and scheme
    "django.middleware.security.SecurityMiddleware",
    *csp_middleware(django.VERSION, is_debug=DEBUG),
    "stagetools.static.StaticMiddleware",
    "stagetools.media.MediaMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# --- files ----------------------------------------------------------------------------

STATIC_URL = SYSTEM.static_url
STATIC_ROOT = CONFIG.directory("STATIC_ROOT", SYSTEM.static_dir)
STATIC_ARCHIVE = CONFIG.directory(
    "STAGETOOLS_STATIC_ARCHIVE", SYSTEM.base_dir / "static-archive"
)
MEDIA_URL = SYSTEM.media_url
MEDIA_ROOT = CONFIG.directory("MEDIA_ROOT", SYSTEM.media_dir)
STATIC_FILES = CONFIG.choice(
    "STAGETOOLS_STATIC_FILES", ("hashed", "plain"), "plain" if DEBUG else "hashed"
)
_STATIC_STORAGE = {
    "hashed": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    "plain": "django.contrib.staticfiles.storage.StaticFilesStorage",
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _STATIC_STORAGE[STATIC_FILES]},
}

# --- security -------------------------------------------------------------------------

TLS = CONFIG.flag("STAGETOOLS_TLS", default=not DEBUG)
CSRF_TRUSTED_ORIGINS = CONFIG.words("CSRF_TRUSTED_ORIGINS")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # only the proxy gets in
SECURE_SSL_REDIRECT = TLS
SECURE_HSTS_SECONDS = CONFIG.number("HSTS_SECONDS", 31_536_000) if TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = CONFIG.flag("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = CONFIG.flag("HSTS_PRELOAD", default=False)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = TLS
CSRF_COOKIE_SECURE = TLS
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    # both speak for domains beyond this site; who owns them all says so in the settings
    "security.W005",  # HSTS_INCLUDE_SUBDOMAINS
    "security.W021",  # HSTS_PRELOAD
]
SECURE_CSP: dict[str, list[str]]  # of the one that this Django reads
CONTENT_SECURITY_POLICY: dict[str, dict[str, list[str]]]
globals().update(csp_settings(django.VERSION))

# --- mail and logs --------------------------------------------------------------------

globals().update(mail_settings(SYSTEM, CONFIG, ALLOWED_HOSTS, django.VERSION))
LOGGING = logging_settings(SYSTEM, CONFIG)
