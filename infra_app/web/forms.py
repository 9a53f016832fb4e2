"""The forms of the Nodes pages. Bounds and grammar are validation.py's to check, for everybody; here are fields."""

import re
from typing import Any, Final

from django import forms
from django.conf import settings

from infra_app.models import Host
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.validation import Deployment

_LINES: Final = {"rows": 3, "spellcheck": "false", "autocomplete": "off"}


class NamesField(forms.CharField):
    """Names with commas or spaces between them."""

    def clean(self, value: Any) -> tuple[str, ...]:
        """Return the names."""
        return tuple(filter(None, re.split(r"[,\s]+", super().clean(value))))

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field at first."""
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether other names are given than at first."""
        return self.clean(data or "-") != tuple(initial or ())


class PairsField(forms.CharField):
    """`NAME=value`, one a line."""

    widget = forms.Textarea(attrs=_LINES)

    def clean(self, value: Any) -> dict[str, str]:
        """Return the pairs."""
        pairs: dict[str, str] = {}
        for line in super().clean(value).splitlines():
            name, equals, text = line.strip().partition("=")
            if not name and not equals:
                continue
            if not equals:
                raise forms.ValidationError(f"NAME=value is missing its '=': {line[:40]}")
            if name in pairs:
                raise forms.ValidationError(f"{name[:40]} is named twice")
            pairs[name] = text
        return pairs

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field at first."""
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value


class RunsForm(forms.Form):
    """What a node runs."""

    image = forms.CharField(label="Image", max_length=255)
    queues = NamesField(label="Queues", max_length=2000, help_text="Names with commas between them.")
    concurrency = forms.IntegerField(label="Concurrency", min_value=1, help_text="Tasks that a node runs at once.")
    memory_mb = forms.IntegerField(label="Memory in MB", min_value=1, help_text="A node that needs more is ended.")
    cpus = forms.FloatField(label="CPUs", min_value=0, help_text="0.5 is half of one.")


class DeployForm(RunsForm):
    """A group of nodes."""

    name = forms.CharField(label="Name", required=False, max_length=50, help_text="Made up where it is left empty.")
    replicas = forms.IntegerField(label="Nodes", min_value=1, initial=1)
    host = forms.ChoiceField(label="Host", required=False, help_text="Else where fewest of the group are, and most room is.")
    region = forms.CharField(label="Region", required=False, max_length=63, help_text="Only hosts of this region.")
    labels = PairsField(label="Labels", required=False, help_text="Only hosts with these: disk=ssd, one a line.")
    environment = PairsField(label="Environment", required=False)
    secrets = PairsField(label="Secrets", required=False, help_text="NAME=value, one a line; shown nowhere afterwards.")
    restart_policy = forms.ChoiceField(label="Restart", choices=RestartPolicy.choices, initial=RestartPolicy.ALWAYS)
    kind = forms.ChoiceField(label="Kept by", choices=GroupKind.choices, initial=GroupKind.CONTAINERS)

    field_order = ("name", "replicas", "queues", "concurrency", "memory_mb", "cpus", "image", "host")

    #: Those that most deploys leave as they are.
    MORE: Final = ("region", "labels", "environment", "secrets", "restart_policy", "kind")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = Host.objects.order_by("name").values_list("name", flat=True)
        self.fields["host"].choices = [("", "Any"), *((name, name) for name in names)]  # type: ignore[attr-defined]
        usual = Deployment()
        for name in ("queues", "concurrency", "memory_mb", "cpus"):
            self.fields[name].initial = getattr(usual, name)
        self.fields["image"].initial = settings.ZENITH_WORKER_IMAGE
        allowed = ", ".join(settings.ZENITH_NODE_ENVIRONMENT)
        self.fields["environment"].help_text = f"NAME=value, one a line. Names that are allowed: {allowed}."

    def main_fields(self) -> list[forms.BoundField]:
        """Return the fields that stand open."""
        return [field for field in self if field.name not in self.MORE]

    def more_fields(self) -> list[forms.BoundField]:
        """Return the fields that stand folded away."""
        return [field for field in self if field.name in self.MORE]

    def more_is_wrong(self) -> bool:
        """Whether one of those needs looking at."""
        return any(name in self.errors for name in self.MORE)

    def to_deployment(self) -> Deployment:
        """Return what is asked for."""
        return Deployment(**self.cleaned_data)


class ScaleForm(forms.Form):
    """How many nodes."""

    replicas = forms.IntegerField(label="Nodes", min_value=0)


class AutoscaleForm(forms.Form):
    """Between how many nodes a group is kept."""

    autoscale = forms.BooleanField(label="Follow the queue", required=False)
    dry_run = forms.BooleanField(label="Only say what would be done", required=False)
    scale_queue = forms.CharField(label="Queue", required=False, max_length=100, help_text="Empty: the first of its queues.")
    min_replicas = forms.IntegerField(label="Nodes at least", min_value=0)
    max_replicas = forms.IntegerField(label="Nodes at most", min_value=1)
    target_seconds = forms.IntegerField(label="Target", min_value=1, help_text="Seconds in which the queue shall drain.")
    cooldown_seconds = forms.IntegerField(label="Rest", min_value=0, help_text="Seconds between two changes.")


class HostForm(forms.Form):
    """What people say of a host."""

    cordoned = forms.BooleanField(label="Cordoned", required=False, help_text="It takes no new nodes; those on it stay.")
    region = forms.CharField(label="Region", required=False, max_length=63)
    labels = PairsField(label="Labels", required=False, help_text="disk=ssd, one a line.")
