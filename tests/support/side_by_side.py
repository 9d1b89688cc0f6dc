"""Which tests may run side by side, where two processes share them (`make test`): by file, and all stacks in one.

Each process has servers of its own. A supervised stack takes the usual ports if they are free: two that start at the
same time would both find them so.
"""

from __future__ import annotations

from typing import Final

import pytest

STACKS: Final = ("tests/alerts/", "tests/chaos/", "tests/e2e/", "tests/integration/deploy_local/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of every test with which others it belongs."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        has_stack = file.startswith(STACKS) or "stack" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("stacks" if has_stack else file))
