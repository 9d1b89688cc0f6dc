"""What a service is told by its environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from libs.runtime.settings import ServiceSettings


def test_a_service_is_embedded_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAESTRO_PROFILE", raising=False)

    assert ServiceSettings().profile == "embedded"


def test_the_profile_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_PROFILE", "clustered")

    assert ServiceSettings().profile == "clustered"


def test_a_profile_that_we_do_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_PROFILE", "clusterd")

    with pytest.raises(ValidationError, match="'embedded' or 'clustered'"):
        ServiceSettings()
