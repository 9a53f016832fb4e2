"""Idempotency keys, with the answers to their requests."""

from django.db import models


class IdempotencyKey(models.Model):
    """A request with an `Idempotency-Key`, written in the transaction that carries it out.

    `key` begins with its caller, so one caller's key never matches another's.
    """

    key = models.CharField(max_length=400, primary_key=True)
    digest = models.BinaryField(max_length=32, help_text="SHA-256 of what was asked for.")
    answer = models.JSONField(null=True, blank=True, help_text="NULL only inside of the transaction that makes it.")
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = "idempotency key"
        ordering = ("-created_at",)
        indexes = (
            # maintenance/retention.py: those that are forgotten.
            models.Index(fields=("created_at",), name="idempotency_age"),
        )

    def __str__(self) -> str:
        return self.key
