"""What web and engines hand to each other about brokers' URLs: engines' public key, and tests of connections.

Both are in PostgreSQL and not in Redis, which workers can read and write: whoever runs code there must neither learn a URL that
is tested, nor replace the key that URLs are encrypted with.
"""

from __future__ import annotations

import uuid

from django.db import models

from tasks_app.models.application import Application


class EngineKey(models.Model):
    """The public key of the engines, with which web encrypts the URLs of brokers (tasks_app/watching/engine_key.py): one row."""

    id = models.SmallAutoField(primary_key=True)
    public = models.CharField(max_length=100)
    told_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.public


class ConnectionTest(models.Model):
    """A question to engines: can this broker be watched? It lives for seconds (tasks_app/watching/connection_tests.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    application = models.ForeignKey(
        Application, null=True, on_delete=models.CASCADE, help_text="Whose URL is meant if no other is given."
    )
    url = models.TextField(blank=True, default="", editable=False, help_text="The broker's URL, encrypted.")
    key_prefix = models.CharField(max_length=100, blank=True, default="")
    serializers = models.CharField(max_length=50, default="json")
    asked_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, default="", help_text="Why the broker cannot be watched; empty if it can.")

    def __str__(self) -> str:
        return str(self.id)
