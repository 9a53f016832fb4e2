"""deploy/prometheus and deploy/grafana: every figure they ask for is one that /metrics has, and every alert says what to do."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from tasks_app.metrics import outcomes
from tasks_app.models import Application
from tests.processes import REPOSITORY
from tests.rollups import ended
from zenith_site.common import faults
from zenith_site.metrics import web
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db(transaction=True)
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((REPOSITORY / "deploy/prometheus/zenith.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((REPOSITORY / "deploy/grafana/zenith.json").read_text())
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]},
}
_METRIC = re.compile(r"\bzenith_[a-z_]+")
_SELECTOR = re.compile(r"\b(zenith_[a-z_]+)\{([^}]*)\}")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The names of all samples of /metrics, each with its labels' names."""
    stream.client().flushdb()
    monkeypatch.setattr(web._Memory, "answers", {})
    monkeypatch.setattr(outcomes, "lifetime", outcomes.Lifetime())
    ended(time.time(), succeeded=1, failed=1, retried=1, runs=(0.1,), waits=(0.1,))
    heartbeat.write("w@alerts", slots=1, busy=0, queues=["default"])
    Application.objects.create(name="shop", kind="attached")
    about = heartbeat.About(depths=[heartbeat.Depth("tills", 1)], depths_age=1.0)
    heartbeat.write("w@alerts", slots=1, busy=0, queues=["tills"], application="shop", about=about)
    faults.record_fault("relay", ValueError())
    client = Client()
    client.get("/login/")
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_figure_that_is_asked_for_exists_with_its_labels(where: str, known: dict[str, set[str]]) -> None:
    expression = EXPRESSIONS[where]
    assert set(_METRIC.findall(expression)) <= known.keys()
    for name, selector in _SELECTOR.findall(expression):
        assert set(re.findall(r"(\w+)\s*=", selector)) <= known[name], name
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    document, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (REPOSITORY / document).read_text(), re.M)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_every_metric_of_the_page_is_documented(known: dict[str, set[str]]) -> None:
    text = (REPOSITORY / "docs/metrics.md").read_text()
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known if name.startswith("zenith_")}
    assert [name for name in sorted(families) if name not in text] == []
    assert set(_METRIC.findall(text)) - {"zenith_metrics_token"} <= families


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (column, row)
        for place in places
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
