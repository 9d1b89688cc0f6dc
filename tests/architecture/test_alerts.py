"""Whoever is woken by an alert is told what it is, and finds what to do first."""

from __future__ import annotations

import re

import pytest
import yaml

from deploy.local.services import SERVICES
from libs.schemas.topics import registry
from tests.support.alerts import FOLDER, Alert, alerts
from tests.support.tools import CHECKOUT

EVERY_ALERT = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_ALERT
def test_an_alert_leads_to_a_runbook_that_exists(alert: Alert) -> None:
    page, _, anchor = alert.runbook.partition("#")

    assert anchor in anchors((CHECKOUT / page).read_text(encoding="utf-8"))


@EVERY_ALERT
def test_an_alert_says_who_is_concerned_and_how_badly(alert: Alert) -> None:
    assert alert.severity in {"warning", "critical"}
    assert "{{" in alert.summary


@EVERY_ALERT
def test_an_alert_is_shown_to_fire(alert: Alert) -> None:
    files = sorted(FOLDER.glob("rules_test*.yaml"))
    tests = [one for file in files for one in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]
    fired = {one["alertname"] for test in tests for one in test.get("alert_rule_test", ()) if one["exp_alerts"]}

    assert alert.name in fired


@EVERY_ALERT
def test_an_alert_asks_for_metrics(alert: Alert) -> None:
    assert alert.metrics() or alert.expression.startswith("up{")


def test_every_service_is_scraped() -> None:
    targets = yaml.safe_load((FOLDER / "targets" / "local.yaml").read_text(encoding="utf-8"))

    assert {(one["labels"]["service"], *one["targets"]) for one in targets} == {
        (service.name, f"127.0.0.1:{service.port}") for service in SERVICES
    }


def test_what_a_service_that_is_down_does_not_read_is_told_at_half_of_the_shortest_retention() -> None:
    [alert] = [one for one in alerts() if one.name == "MaestroUnreadNearRetention"]
    shortest_h = min(
        spec.retention_h for spec in registry().values() if spec.consumers and spec.retention_h is not None
    )

    assert f"> {shortest_h * 3600 // 2} " in alert.expression
    assert f"[{shortest_h // 24}d]" in alert.expression
