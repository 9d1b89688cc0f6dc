"""Stock Prometheus and promtool, fetched by deploy/tools/prometheus.sh."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tools import prometheus_tool


@pytest.fixture(scope="session")
def promtool() -> Path:
    return prometheus_tool("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return prometheus_tool("prometheus")
