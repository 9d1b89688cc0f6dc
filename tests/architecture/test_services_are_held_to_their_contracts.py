"""Every service has the two tests that hold its routes: all statuses that are documented, and all tenants apart."""

from __future__ import annotations

import pytest

from deploy.local.services import SERVICES
from tests.architecture.tree import ROOT


@pytest.mark.parametrize("service", [one.name for one in SERVICES])
@pytest.mark.parametrize("test", ["test_every_answer.py", "test_across_tenants.py"])
def test_every_service_is_tried_by_all_of_its_routes(service: str, test: str) -> None:
    assert (ROOT / "tests" / "integration" / service / test).is_file()


def test_every_service_of_the_checkout_is_in_the_table() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("services/*/app.py")) == sorted(one.name for one in SERVICES)
