"""The Celery application: every process that sends or runs tasks imports it."""

import os

from celery import Celery
from django.conf import settings

from zenith_site import celery_config
from zenith_site.common import application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
# Django's system checks import the URLs, and with them all pages and the API: a third of a worker's start-up time.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("zenith", task_cls="zenith_worker.task:ZenithTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(celery_config.load(settings.ZENITH_CELERY_CONFIG))
app.conf.update(
    zenith_max_deliveries=settings.ZENITH_MAX_DELIVERIES, zenith_drills=settings.ZENITH_DRILLS,
    zenith_result_max_bytes=settings.ZENITH_RESULT_MAX_BYTES, zenith_task_logs=settings.ZENITH_TASK_LOGS,
)  # fmt: skip
app.steps["consumer"].add("zenith_worker.own_worker:OwnWorker")
application.use(app)
