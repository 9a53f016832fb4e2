"""A Django project that stores results as django-celery-results documents, and does nothing else."""

import os

import environ

SECRET_KEY = "of a project that lives for one benchmark"  # noqa: S105
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {"default": {**environ.Env.db_url_config(os.environ["BENCH_DATABASE"]), "ENGINE": "django.db.backends.postgresql"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

CELERY_BROKER_URL = os.environ["BENCH_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = "django-db"
CELERY_IMPORTS = ["bench.tasks"]
if os.environ.get("BENCH_TUNED"):
    # Without it Celery's Django fixup closes the connection before and after every task.
    CELERY_DB_REUSE_MAX = 1_000_000
