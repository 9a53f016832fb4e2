"""Saved views of the task list: a filter, an order and columns under a name."""

from django.conf import settings
from django.db import models
from django.db.models import Q

#: Characters of a view's name, and of its query.
MAX_VIEW_NAME = 60
MAX_VIEW_QUERY = 2_000


class SavedView(models.Model):
    """A view of the task list. A private one is its owner's; a shared one has no owner and belongs to all who may see it."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE)
    name = models.CharField(max_length=MAX_VIEW_NAME)
    query = models.CharField(max_length=MAX_VIEW_QUERY, help_text="The list's address after the question mark.")
    # By name, as the filter has it: the view may be older than the application.
    application = models.CharField(
        max_length=50, blank=True, default="", help_text="The application that it is limited to; empty: all of them."
    )
    saved_by = models.CharField(max_length=200)
    saved_at = models.DateTimeField()

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("owner", "name"), name="saved_view_own_name"),
            models.UniqueConstraint(fields=("application", "name"), condition=Q(owner=None), name="saved_view_shared_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_shared(self) -> bool:
        """Whether others see it."""
        return self.owner_id is None
