"""The table at the end of a run: how many tests ran on which real part, so that nobody takes a fake for the thing."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.support.tools import version_of

# Fixture -> the real part behind it. A test counts for every part that it stands on, directly or through a fixture.
PART_OF_FIXTURE: Final = {
    "postgres": "PostgreSQL 18 (embedded)",
    "valkey_url": "Valkey 9 (embedded)",
    "own_valkey": "Valkey 9 (embedded)",
    "kafka": "Apache Kafka 4.3.0 (KRaft, embedded)",
    "own_stack": "embedded servers under the supervisor",
    "standing_stack": "embedded servers under the supervisor",
    "first_up": "whole stack, each service its own process",
    "old_version": "whole stack, each service its own process",
    "stack": "whole stack, each service its own process",
    "cosign": f"cosign {version_of('cosign')}",
    "promtool": "promtool (Debian's Prometheus)",
    "prometheus": "Prometheus (Debian's)",
    "otelcol": f"OpenTelemetry Collector {version_of('otelcol')}",
}
NOTHING_REAL: Final = "no server (pure code)"
OUTCOMES: Final = ("passed", "failed", "skipped")
PROPERTY: Final = "real parts"

_parts_of_test: dict[str, list[str]] = {}
_outcome_of_test: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note for every test which real parts it stands on; the note goes with its report, also from another process."""
    for item in items:
        # A parameter that names a fixture stands for it: one suite runs on a real part and on its twin in memory.
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        fixtures = [*getattr(item, "fixturenames", ()), *(one for one in parameters.values() if isinstance(one, str))]
        parts = sorted({PART_OF_FIXTURE[name] for name in fixtures if name in PART_OF_FIXTURE})
        item.user_properties.append((PROPERTY, parts or [NOTHING_REAL]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst outcome of a test's three phases."""
    parts = dict(report.user_properties).get(PROPERTY)
    _parts_of_test[report.nodeid] = parts if isinstance(parts, list) else []
    known = _outcome_of_test.get(report.nodeid)
    if known == "failed" or (report.when != "call" and report.outcome == "passed"):
        return
    _outcome_of_test[report.nodeid] = report.outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    counts: Counter[tuple[str, str]] = Counter(
        (part, outcome) for test, outcome in _outcome_of_test.items() for part in _parts_of_test.get(test, ())
    )
    terminalreporter.section("what ran on which real part")
    terminalreporter.write_line(f"{'part':<46}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES))
    for part in sorted({part for part, _ in counts}):
        terminalreporter.write_line(f"{part:<46}" + "".join(f"{counts[part, outcome]:>9}" for outcome in OUTCOMES))
