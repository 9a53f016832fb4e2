"""`manage.py first_batch`: ten tasks on the project's own documents, so that a new installation shows something real."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Dispatches the first batch and prints a line per finished task."""

    help = "Dispatch ten analyze_text tasks on Zenith's own documents and print one line per finished task."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        from tasks_app.dispatch.first_batch import first_batch

        for line in first_batch():
            self.stdout.write(line)
