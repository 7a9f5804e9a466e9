"""Settings with the habits of Django 4.2 and of a platform: all from variables."""

import os
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent
ROOT = SRC.parent

SECRET_KEY = os.environ.get("HERONRY_KEY", "django-insecure-heronry")
DEBUG = os.environ.get("HERONRY_DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("HERONRY_HOSTS", "").split()

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "apps.people",
    "apps.birds",
]
MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.middleware.MottoMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_USER_MODEL = "people.Person"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ROOT / os.environ["HERONRY_DATABASE"],
        "ATOMIC_REQUESTS": True,
    }
}

USE_L10N = True
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = ROOT / "collected"
STATICFILES_DIRS = [ROOT / "static"]
STATICFILES_STORAGE = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
DEFAULT_FILE_STORAGE = "django.core.files.storage.FileSystemStorage"
MEDIA_URL = "/media/"
MEDIA_ROOT = ROOT / "media"

LOGGING = {
    "version": 1,
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": ROOT / "heronry.log",
            "delay": True,
        }
    },
    "loggers": {"apps": {"handlers": ["file"], "level": "DEBUG"}},
}
