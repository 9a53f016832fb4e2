"""Sends letters as the project's pages do, waits for them, and prints what the database says, as JSON."""

# ruff: noqa: E402 -- models cannot be imported before the setup

from __future__ import annotations

import json
import sys
import time
from typing import Any

import django

django.setup()

from django.core.mail import send_mail
from django_celery_results.models import TaskResult
from django_yubin.models import Blacklist, Log, Message
from django_yubin.tasks import delete_old_emails, retry_emails, send_email

NUMBER = 3


def main() -> None:
    """Send, wait, print."""
    Blacklist.objects.create(email="stranger@example.org")
    for number in range(NUMBER):
        send_mail(f"Letter {number}", "Your results are here.", "clinic@example.org", [f"patient{number}@example.org"])
    send_mail("Letter to nobody", "Nothing.", "clinic@example.org", ["stranger@example.org"])
    until(lambda: not Message.objects.filter(status__lt=Message.STATUS_SENT).exists())
    results = [send_email.delay(10**9, "no such letter"), retry_emails.delay(max_retries=3), delete_old_emails.delay(days=1)]
    values = [result.get(timeout=60) for result in results]
    # The letter to nobody is tried again.
    until(lambda: TaskResult.objects.filter(status="SUCCESS").count() == NUMBER + 2 + len(results))
    json.dump(
        {
            "letters": list(Message.objects.order_by("id").values_list("subject", "status", "sent_count")),
            "log": Log.objects.filter(log_message__startswith="Message sent").count(),
            "values": [values[0], values[1], values[2][0]],
            "results": {row.task_id: [row.task_name, json.loads(row.result)] for row in TaskResult.objects.all()},
        },
        sys.stdout,
    )


def until(condition: Any) -> None:
    """Wait for at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, list(Message.objects.values()) + list(TaskResult.objects.values())
        time.sleep(0.1)


main()
