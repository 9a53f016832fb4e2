"""The forms of notification rules and of muting. What a rule may say is decided in rule_changes.py."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from django import forms
from django.utils import timezone
from pydantic import ValidationError

from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import add_problems
from zenith_site.notify.destinations import ChannelView
from zenith_site.notify.kinds import BUILT_IN, Severity, Subject
from zenith_site.notify.models import NotificationRule
from zenith_site.notify.rule_changes import MAX_MINUTES, RuleRequest

#: How long something can be muted, in hours; 0 ends it.
MUTES: Final = {"1": "1 hour", "8": "8 hours", "24": "1 day", "168": "1 week", "720": "30 days", "0": "not muted"}
_PATTERN: Final = "* stands for any text. Empty: all."
_NUMBERS: Final = {
    Subject.FAILURES: ("More than", "How many tasks may fail for good before it fires."),
    Subject.FAILURE_SHARE: ("Of at least", "Fewer tasks than this say nothing about a share."),
    Subject.QUEUE_DEPTH: ("More than", "How many messages may wait, in all matching queues together."),
    Subject.KIND: ("More than", "How many notifications of this kind may be opened before it fires."),
}


def _text(label: str, help_text: str, **options: Any) -> forms.CharField:
    attributes = {"spellcheck": "false", "autocomplete": "off"}
    return forms.CharField(label=label, help_text=help_text, widget=forms.TextInput(attrs=attributes), **options)


class RuleForm(forms.Form):
    """A rule about one subject, with the fields that it has."""

    name = _text("Name", "The title of its notifications.", max_length=100)
    kind = forms.ChoiceField(label="Kind of notifications", choices=[(kind.value, kind.label) for kind in BUILT_IN])
    task = _text("Task", _PATTERN, max_length=255, required=False)
    queue = _text("Queue", _PATTERN, max_length=255, required=False)
    worker = _text("Worker", _PATTERN, max_length=255, required=False)
    error_type = _text("Type of error", f"Such as TimeoutError. {_PATTERN}", max_length=255, required=False)
    fingerprint = _text("Cause", "The fingerprint of a group of dead letters. Empty: all.", max_length=32, required=False)
    application = forms.ChoiceField(label="Application", required=False)
    share = forms.IntegerField(label="More than, in percent", min_value=1, max_value=99, initial=20)
    threshold = forms.IntegerField(min_value=0, max_value=1_000_000_000, initial=10)
    minutes = forms.IntegerField(
        label="Within how many minutes", min_value=1, max_value=MAX_MINUTES, initial=5, help_text="1 to 1440, which is a day."
    )
    severity = forms.ChoiceField(
        label="Severity", initial=Severity.WARNING.value,
        choices=[(severity.value, f"{severity.value.capitalize()}: {severity.sentence}") for severity in reversed(Severity)],
    )  # fmt: skip
    channels = forms.MultipleChoiceField(
        label="Send it by", required=False, widget=forms.CheckboxSelectMultiple,
        help_text="Without any, it is only shown here.",
    )  # fmt: skip
    owner = forms.ChoiceField(label="Owner", required=False, help_text="Who looks after it.")

    def __init__(
        self,
        data: Any,
        subject: Subject,
        *,
        channels: Sequence[ChannelView],
        applications: Sequence[str],
        owners: Sequence[str],
        rule: NotificationRule | None = None,
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=_initial_of(rule) if rule else initial)
        self.subject, self.rule = subject, rule
        kept = {"name", "severity", "channels", "owner", *subject.filters, *subject.numbers}
        for name in [name for name in self.fields if name not in kept]:
            del self.fields[name]
        if subject in _NUMBERS:
            self.fields["threshold"].label, self.fields["threshold"].help_text = _NUMBERS[subject]
        if subject is Subject.QUEUE_DEPTH:
            self.fields["minutes"].label = "For how many minutes"
        self._offer("channels", [(channel.key, channel.label) for channel in channels])
        self._offer("application", [("", "All applications"), *((name, name) for name in applications)])
        nobody = [] if self.initial.get("owner") else [("", "nobody")]
        self._offer("owner", [*nobody, *((name, name) for name in owners)])
        if not channels:
            del self.fields["channels"]
        if "application" in self.fields and len(applications) < 2:
            del self.fields["application"]

    def request(self) -> RuleRequest | None:
        """Return what was entered; None if it is wrong, and then the errors are beside the fields."""
        if not self.is_valid():
            return None
        fields = {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}
        muted_until = self.rule.muted_until if self.rule else None
        try:
            body = RuleRequest.model_validate({**fields, "subject": self.subject, "muted_until": muted_until})
            body.unsaved()
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                name = str(problem["loc"][0]) if problem["loc"] else None
                self.add_error(name if name in self.fields else None, problem["msg"].removeprefix("Value error, "))
        except InvalidInputError as error:
            add_problems(self, error)
        else:
            return body
        return None

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        if name in self.fields:
            chosen = self.initial.get(name) or []
            known = {value for value, _ in choices}
            # What the rule says may be gone by now; it must not vanish from the form without a word.
            gone = [
                (value, f"{value} (gone)") for value in ([chosen] if isinstance(chosen, str) else chosen) if value not in known
            ]
            cast(forms.ChoiceField, self.fields[name]).choices = [*choices, *gone]


def _initial_of(rule: NotificationRule) -> dict[str, Any]:
    names = (
        "name",
        "kind",
        "task",
        "queue",
        "worker",
        "error_type",
        "fingerprint",
        "application",
        "share",
        "threshold",
        "minutes",
    )
    initial = {name: getattr(rule, name) for name in (*names, "severity", "channels")}
    return {**initial, "owner": rule.owner.get_username() if rule.owner else ""}


class MuteForm(forms.Form):
    """For how long something is muted."""

    hours = forms.ChoiceField(
        label="Mute for", choices=list(MUTES.items()), initial="24", widget=forms.Select(attrs={"class": "select"})
    )

    def until(self) -> datetime | None:
        """Return until when, or None if it is not muted any more; the form must be valid."""
        hours = int(self.cleaned_data["hours"])
        return timezone.now() + timedelta(hours=hours) if hours else None
