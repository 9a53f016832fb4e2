"""The form that asks why a queue is paused."""

from django import forms

from tasks_app.control.queues import MAX_NOTE


class PauseForm(forms.Form):
    """The reason for a pause."""

    note = forms.CharField(
        label="Note", required=False, max_length=MAX_NOTE, help_text="The reason, shown with the queue.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )  # fmt: skip
