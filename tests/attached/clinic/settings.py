"""The project's settings: a database of its own, where its results lie as well."""

import os

SECRET_KEY = "clinic"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django_celery_results", "django_yubin",
]  # fmt: skip
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["CLINIC_DATABASE"],
        # Several processes write, and wait for each other.
        "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
USE_TZ = True

EMAIL_BACKEND = "django_yubin.backends.QueuedEmailBackend"
MAILER_USE_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = os.environ["CLINIC_MAIL"]

CELERY_BROKER_URL = os.environ["CLINIC_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_TASK_TRACK_STARTED = True
