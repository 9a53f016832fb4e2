"""The forms of the Nodes pages. They only define fields: validation.py checks bounds and grammar for every caller."""

import re
from typing import Any, Final

from django import forms
from django.conf import settings

from infra_app.models import Host
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.validation import Deployment

_LINES: Final = {"rows": 3, "spellcheck": "false", "autocomplete": "off"}


class NamesField(forms.CharField):
    """Names separated by commas or spaces."""

    def clean(self, value: Any) -> tuple[str, ...]:
        """Return the names."""
        return tuple(filter(None, re.split(r"[,\s]+", super().clean(value))))

    def prepare_value(self, value: Any) -> Any:
        """Return the initial text of the field."""
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the names differ from the initial ones."""
        return self.clean(data or "-") != tuple(initial or ())


class PairsField(forms.CharField):
    """`NAME=value` pairs, one per line."""

    widget = forms.Textarea(attrs=_LINES)

    def clean(self, value: Any) -> dict[str, str]:
        """Return the pairs."""
        pairs: dict[str, str] = {}
        for line in super().clean(value).splitlines():
            name, equals, text = line.strip().partition("=")
            if not name and not equals:
                continue
            if not equals:
                raise forms.ValidationError(f"Enter NAME=value; there is no '=' in: {line[:40]}")
            if name in pairs:
                raise forms.ValidationError(f"{name[:40]} is listed twice")
            pairs[name] = text
        return pairs

    def prepare_value(self, value: Any) -> Any:
        """Return the initial text of the field."""
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value


class RunsForm(forms.Form):
    """What a node runs."""

    image = forms.CharField(label="Image", max_length=255)
    queues = NamesField(label="Queues", max_length=2000, help_text="Names, separated by commas.")
    concurrency = forms.IntegerField(label="Concurrency", min_value=1, help_text="Tasks that each node runs at once.")
    memory_mb = forms.IntegerField(
        label="Memory in MB", min_value=1, help_text="Limit of each node. A node that exceeds it is killed."
    )
    cpus = forms.FloatField(label="CPUs", min_value=0, help_text="Limit of each node; 0.5 is half a CPU.")


class DeployForm(RunsForm):
    """A group of nodes."""

    name = forms.CharField(label="Name", required=False, max_length=50, help_text="Leave empty to generate a name.")
    replicas = forms.IntegerField(label="Nodes", min_value=1, initial=1)
    host = forms.ChoiceField(
        label="Host", required=False, help_text="With Any, nodes spread over the hosts that have the most room."
    )
    region = forms.CharField(label="Region", required=False, max_length=63, help_text="Place nodes on hosts of this region only.")
    labels = PairsField(
        label="Labels", required=False, help_text="Place nodes on hosts with these labels only: disk=ssd, one per line."
    )
    environment = PairsField(label="Environment", required=False)
    secrets = PairsField(label="Secrets", required=False, help_text="NAME=value, one per line. Values are never shown again.")
    restart_policy = forms.ChoiceField(label="Restart", choices=RestartPolicy.choices, initial=RestartPolicy.ALWAYS)
    kind = forms.ChoiceField(label="Managed by", choices=GroupKind.choices, initial=GroupKind.CONTAINERS)

    field_order = ("name", "replicas", "queues", "concurrency", "memory_mb", "cpus", "image", "host")

    #: Fields that most deployments leave unchanged.
    MORE: Final = ("region", "labels", "environment", "secrets", "restart_policy", "kind")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = Host.objects.order_by("name").values_list("name", flat=True)
        self.fields["host"].choices = [("", "Any"), *((name, name) for name in names)]  # type: ignore[attr-defined]
        defaults = Deployment()
        for name in ("queues", "concurrency", "memory_mb", "cpus"):
            self.fields[name].initial = getattr(defaults, name)
        self.fields["image"].initial = settings.ZENITH_WORKER_IMAGE
        allowed = ", ".join(settings.ZENITH_NODE_ENVIRONMENT)
        self.fields["environment"].help_text = f"NAME=value, one per line. Allowed names: {allowed}."

    def main_fields(self) -> list[forms.BoundField]:
        """Return the fields that are always visible."""
        return [field for field in self if field.name not in self.MORE]

    def more_fields(self) -> list[forms.BoundField]:
        """Return the fields that are collapsed."""
        return [field for field in self if field.name in self.MORE]

    def more_is_wrong(self) -> bool:
        """Whether a collapsed field has an error."""
        return any(name in self.errors for name in self.MORE)

    def to_deployment(self) -> Deployment:
        """Return the form's data as a deployment."""
        return Deployment(**self.cleaned_data)


class ScaleForm(forms.Form):
    """The number of nodes."""

    replicas = forms.IntegerField(label="Nodes", min_value=0)


class AutoscaleForm(forms.Form):
    """The limits of a group's autoscaling."""

    autoscale = forms.BooleanField(label="Follow the queue", required=False)
    dry_run = forms.BooleanField(label="Dry run: record decisions without scaling", required=False)
    scale_queue = forms.CharField(
        label="Queue", required=False, max_length=100, help_text="Leave empty to follow the first of the group's queues."
    )
    min_replicas = forms.IntegerField(label="Minimum nodes", min_value=0)
    max_replicas = forms.IntegerField(label="Maximum nodes", min_value=1)
    target_seconds = forms.IntegerField(label="Target", min_value=1, help_text="Seconds in which the queue should drain.")
    cooldown_seconds = forms.IntegerField(label="Cooldown", min_value=0, help_text="Seconds to wait between two changes.")


class HostForm(forms.Form):
    """What people set on a host."""

    cordoned = forms.BooleanField(
        label="Cordoned", required=False, help_text="No new nodes are placed on it; existing nodes stay."
    )
    region = forms.CharField(label="Region", required=False, max_length=63)
    labels = PairsField(label="Labels", required=False, help_text="disk=ssd, one per line.")
