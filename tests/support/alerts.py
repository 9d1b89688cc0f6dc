"""The alert rules as they are shipped, and the metrics that they ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import yaml

from tests.support.tools import CHECKOUT

FOLDER: Final = CHECKOUT / "deploy" / "prometheus"
METRIC: Final = re.compile(r"\b(?:maestro|http|rpc|db)_[a-z_]+\b(?!\s*[=!]?[=~])")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its name, its expression, and what whoever is woken by it reads."""

    name: str
    expression: str
    severity: str
    summary: str
    runbook: str

    def metrics(self) -> set[str]:
        """The metrics that the expression reads; labels in braces and in groupings are none."""
        bare = re.sub(r"\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)|\"[^\"]*\"", " ", self.expression)
        return set(METRIC.findall(bare))


def alerts() -> list[Alert]:
    """All alerts of deploy/prometheus/rules.yaml."""
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    return [
        Alert(
            rule["alert"],
            rule["expr"],
            rule["labels"]["severity"],
            rule["annotations"]["summary"],
            rule["annotations"]["runbook"],
        )
        for group in groups
        for rule in group["rules"]
    ]
