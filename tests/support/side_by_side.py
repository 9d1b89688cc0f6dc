"""Which tests run one after the other where processes share them (`make test`): a file's, and all stacks.

Each process has servers of its own. A supervised stack takes the usual ports if they are free: two that start at the
same time would both find them so.
"""

from __future__ import annotations

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

STACKS: Final = ("tests/alerts/", "tests/chaos/", "tests/e2e/", "tests/integration/deploy_local/")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole files to a process, and all that starts stacks to one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "stacks" if file.startswith(STACKS) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Share the tests out so."""
    return ByFile(config, log)
