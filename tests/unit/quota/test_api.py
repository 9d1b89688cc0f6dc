from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.quota.api import CheckBody


@pytest.mark.parametrize("cost", ["5", 5.0, True])
def test_a_cost_is_an_integer_and_nothing_that_looks_like_one(cost: object) -> None:
    with pytest.raises(ValidationError, match="cost"):
        CheckBody.model_validate({"limit": "qps", "cost": cost})
