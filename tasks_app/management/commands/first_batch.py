"""`manage.py first_batch`: dispatch ten tasks on the project's own documents, so that a new installation has real data."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Dispatch the first batch and print one line per finished task."""

    help = "Dispatch ten analyze_text tasks on Zenith's own documents and print one line per finished task."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each task as it finishes."""
        from tasks_app.dispatch.first_batch import first_batch

        for line in first_batch():
            self.stdout.write(line)
