"""The configuration that ships is one that the Collector itself accepts, and says what it is relied on for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.authority import make_authority
from tests.support.otelcol import CONFIGURATION, configuration, told

# The first test of a CI run may build the Collector.
pytestmark = pytest.mark.timeout(1900)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "secret"
    secret.write_text("not-a-real-one", encoding="utf-8")
    return told(
        tmp_path / "state",
        kafka_bootstrap="127.0.0.1:9092",
        otelcol_kafka_user="collector",
        otelcol_kafka_password_file=secret,
        metering_otlp="127.0.0.1:14317",
        otelcol_key_file=secret,
    )


def validated(otelcol: Path, way: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [otelcol, "validate", *configuration(way)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("way", ["to-kafka", "to-metering"])
def test_the_collector_accepts_it(otelcol: Path, environment: dict[str, str], way: str) -> None:
    answer = validated(otelcol, way, environment)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_collector_accepts_spans_in_json(otelcol: Path, environment: dict[str, str]) -> None:
    answer = validated(otelcol, "to-kafka", environment | {"MAESTRO_OTELCOL_ENCODING": "otlp_json"})
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("told_more", [{"OTELCOL_KAFKA_PLAINTEXT": "true"}, {"KAFKA_CA_FILE": "authority.pem"}])
def test_the_collector_accepts_both_ways_to_a_broker(
    otelcol: Path, environment: dict[str, str], tmp_path: Path, told_more: dict[str, str]
) -> None:
    make_authority(tmp_path)
    more = {f"MAESTRO_{name}": value.replace("authority", f"{tmp_path}/authority") for name, value in told_more.items()}
    answer = validated(otelcol, "to-kafka", environment | more)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_word_that_is_no_truth_value_does_not_turn_tls_off(otelcol: Path, environment: dict[str, str]) -> None:
    answer = validated(otelcol, "to-kafka", environment | {"MAESTRO_OTELCOL_KAFKA_PLAINTEXT": "perhaps"})
    assert answer.returncode != 0
    assert "insecure" in answer.stderr


def test_the_collector_refuses_it_without_the_secret_that_it_needs(
    otelcol: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    answer = validated(otelcol, "to-metering", environment | {"MAESTRO_OTELCOL_KEY_FILE": str(tmp_path / "absent")})
    assert answer.returncode != 0
    assert "absent" in answer.stderr


@pytest.mark.parametrize(("way", "exporter"), [("to-kafka", "kafka"), ("to-metering", "otlp_grpc")])
def test_what_was_taken_waits_on_disk_and_is_tried_without_end(way: str, exporter: str) -> None:
    said = yaml.safe_load((CONFIGURATION / f"{way}.yaml").read_text(encoding="utf-8"))
    settings = said["exporters"][exporter]
    assert settings["retry_on_failure"]["max_elapsed_time"] == "0s"
    assert settings["sending_queue"]["storage"] == "file_storage"
    assert settings["sending_queue"]["block_on_overflow"]
    assert said["service"]["pipelines"]["traces"]["exporters"] == [exporter]
