"""The stock OpenTelemetry Collector, built from its pin in deploy/tools/otelcol."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tools import built


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """Where the binary lies."""
    return built("otelcol")
