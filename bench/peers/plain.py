"""The Celery application of the plain Django project (plain_settings.py)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.peers.plain_settings")

app = Celery("plain")
app.config_from_object("django.conf:settings", namespace="CELERY")
