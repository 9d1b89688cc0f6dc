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
    monkeypatch.setenv("MAESTRO_KAFKA_PROTOCOL", "SASL_SSL")

    assert ServiceSettings().profile == "clustered"


def test_a_clustered_service_refuses_plaintext_to_kafka_and_says_what_to_set() -> None:
    with pytest.raises(ValidationError, match=r"needs TLS to Kafka: set MAESTRO_KAFKA_PROTOCOL=SASL_SSL"):
        ServiceSettings(profile="clustered", kafka_protocol="SASL_PLAINTEXT")


def test_a_clustered_service_starts_with_tls_to_kafka() -> None:
    assert ServiceSettings(profile="clustered", kafka_protocol="SASL_SSL").kafka_protocol == "SASL_SSL"


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_no_profile_knows_kafka_without_a_login(protocol: str) -> None:
    with pytest.raises(ValidationError, match="'SASL_PLAINTEXT' or 'SASL_SSL'"):
        ServiceSettings.model_validate({"kafka_protocol": protocol})


def test_a_profile_that_we_do_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_PROFILE", "clusterd")

    with pytest.raises(ValidationError, match="'embedded' or 'clustered'"):
        ServiceSettings()
