"""A service is told its own database, port and secrets' files, and nothing that belongs to an administrator."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local.credentials import write_private
from deploy.local.parts import Launch
from deploy.local.places import Places, lay_places
from deploy.local.plan import plan_parts
from deploy.local.service_part import inherited
from deploy.local.services import SERVICES, Service

ADMIN = {
    "MAESTRO_POSTGRES_URL": "postgresql://admin@db.internal:5433/postgres?sslmode=require",
    "MAESTRO_REDIS_URL": "redis://limiter@cache.internal:6380/2",
    "MAESTRO_KAFKA_BOOTSTRAP": "broker-1.internal:9092,broker-2.internal:9092",
    "MAESTRO_KAFKA_USER": "kafka-admin",
}
SECRETS = {"POSTGRES": "admin-secret", "REDIS": "redis-secret", "KAFKA": "kafka-secret"}
SERVICE = Service(
    "quota", port=7103, owns="limits", needs=("postgres", "kafka", "valkey"), settings={"MAESTRO_X": "{secrets}/x"}
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lay_places(tmp_path / "s", None)


@pytest.fixture
def by_file(tmp_path: Path) -> dict[str, str]:
    """An administrator's settings with the files that hold his passwords."""
    files = {f"MAESTRO_{name}_PASSWORD_FILE": tmp_path / name for name in SECRETS}
    for file in files.values():
        write_private(file, SECRETS[file.name])
    return ADMIN | {setting: str(file) for setting, file in files.items()}


def _launched(places: Places, environ: dict[str, str], service: Service = SERVICE) -> Launch:
    part = plan_parts(places, environ, [service])[-1]
    part.prepare(lambda _text: None)
    launch = part.launch()
    assert launch is not None
    return launch


def test_a_service_is_started_by_its_name(places: Places) -> None:
    assert _launched(places, ADMIN).argv[1:] == ("-m", "services.quota")


def test_a_service_gets_its_own_database_on_a_system_server(places: Places) -> None:
    env = _launched(places, ADMIN).env

    assert env["MAESTRO_POSTGRES_URL"] == "postgresql://db.internal:5433/quota?sslmode=require"


def test_a_service_gets_its_own_database_on_the_embedded_server(places: Places) -> None:
    env = _launched(places, {}).env

    assert env["MAESTRO_POSTGRES_URL"].startswith(f"postgresql:///quota?host={places.postgres}/run&port=")


def test_no_password_is_in_the_environment_or_on_the_command_line(places: Places, by_file: dict[str, str]) -> None:
    launch = _launched(places, by_file)
    secrets = [*SECRETS.values(), *(file.read_text().strip() for file in places.secrets.rglob("*password"))]

    shown = " ".join([*launch.argv, *launch.env.values()])

    assert [secret for secret in secrets if secret in shown] == []


def test_each_role_has_a_password_of_its_own_in_a_file_that_only_its_owner_reads(places: Places) -> None:
    folder = Path(_launched(places, ADMIN).env["MAESTRO_POSTGRES_SECRETS_DIR"])

    files = [folder / f"quota_{role}.postgres.password" for role in ("owner", "api", "worker")]

    assert len({file.read_text() for file in files if len(file.read_text()) >= 32}) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_service_is_told_a_folder_that_holds_its_own_roles_and_no_other(places: Places) -> None:
    other = Service("identity", port=7101, owns="tenants")

    told = [Path(_launched(places, {}, one).env["MAESTRO_POSTGRES_SECRETS_DIR"]) for one in (SERVICE, other)]

    assert [stat.S_IMODE(folder.stat().st_mode) for folder in told] == [0o700, 0o700]
    assert [{file.name.partition("_")[0] for file in folder.iterdir()} for folder in told] == [{"quota"}, {"identity"}]


def test_a_password_of_the_time_when_all_lay_in_one_folder_is_taken_over(places: Places) -> None:
    former = places.secrets / "quota_api.postgres.password"
    write_private(former, "kept")

    folder = Path(_launched(places, {}).env["MAESTRO_POSTGRES_SECRETS_DIR"])

    assert (folder / former.name).read_text() == "kept"
    assert not former.exists()


def test_the_password_of_the_one_role_of_former_times_is_removed(places: Places) -> None:
    former = places.secrets / "quota.postgres.password"
    former.write_text("secret")

    _launched(places, ADMIN)

    assert not former.exists()


def test_the_limiter_is_told_which_file_holds_the_password_of_a_system_valkey(
    places: Places, by_file: dict[str, str]
) -> None:
    env = _launched(places, by_file).env

    assert env["MAESTRO_REDIS_URL"] == "redis://limiter@cache.internal:6380/2"
    assert env["MAESTRO_REDIS_PASSWORD_FILE"] == by_file["MAESTRO_REDIS_PASSWORD_FILE"]


def test_the_copy_of_that_password_of_former_times_is_removed(places: Places) -> None:
    former = places.secrets / "valkey.system.password"
    former.write_text("secret")

    plan_parts(places, ADMIN, [SERVICE])[1].prepare(lambda _text: None)

    assert not former.exists()


def test_a_service_that_needs_no_valkey_is_not_told_of_it(places: Places, by_file: dict[str, str]) -> None:
    plain = Service("identity", port=7101, owns="tenants")

    assert [name for name in _launched(places, by_file, plain).env if "REDIS" in name] == []


def test_a_service_logs_in_to_kafka_as_itself(places: Places) -> None:
    env = _launched(places, ADMIN).env

    told = [env[f"MAESTRO_KAFKA_{name}"] for name in ("USER", "PASSWORD_FILE", "PROTOCOL")]
    assert told == ["quota", f"{places.secrets}/quota.kafka.password", "SASL_PLAINTEXT"]


def test_a_service_speaks_tls_where_the_operator_does(places: Places) -> None:
    tls = {"MAESTRO_KAFKA_PROTOCOL": "SASL_SSL", "MAESTRO_KAFKA_CA_FILE": "/etc/ca.pem"}

    env = _launched(places, ADMIN | tls).env

    assert (env["MAESTRO_KAFKA_PROTOCOL"], env["MAESTRO_KAFKA_CA_FILE"]) == ("SASL_SSL", "/etc/ca.pem")


def test_a_setting_of_the_table_names_the_stacks_folders(places: Places) -> None:
    assert _launched(places, ADMIN).env["MAESTRO_X"] == f"{places.secrets}/x"


def test_a_service_takes_over_settings_but_no_administrators_address_or_file(by_file: dict[str, str]) -> None:
    environ = {**by_file, "MAESTRO_LOG_LEVEL": "debug", "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "foreign"}

    assert inherited(environ) == {"MAESTRO_LOG_LEVEL": "debug", "PATH": "/bin"}


def test_what_key_a_topic_is_bound_to_reaches_the_service() -> None:
    bound = {"MAESTRO_OTLP_SPANS_KEY_ID": "a" * 16, "MAESTRO_USAGE_EVENTS_KEY_ID": "b" * 16}
    assert inherited(bound) == bound


def test_no_address_that_is_shown_holds_a_login(places: Places) -> None:
    shown = [part.address() for part in plan_parts(places, ADMIN, [SERVICE])[:3]]

    assert shown == ["db.internal:5433", "redis://cache.internal:6380/2", ADMIN["MAESTRO_KAFKA_BOOTSTRAP"]]


def test_a_system_server_has_no_process_of_ours(places: Places) -> None:
    assert [part.launch() for part in plan_parts(places, ADMIN, [SERVICE])[:3]] == [None, None, None]


def test_a_service_that_takes_otlp_over_grpc_is_told_where_and_shows_it(places: Places) -> None:
    launch = _launched(places, ADMIN, Service("metering", port=7102, owns="usage", grpc_port=14317))

    port = launch.env["MAESTRO_OTLP_GRPC_PORT"]
    assert launch.also_at == f"OTLP/gRPC 127.0.0.1:{port}"
    assert port != launch.env["MAESTRO_PORT"]


def test_a_service_without_grpc_is_told_of_no_such_port(places: Places) -> None:
    launch = _launched(places, ADMIN)

    assert ("MAESTRO_OTLP_GRPC_PORT" in launch.env, launch.also_at) == (False, "")


def test_every_service_of_the_table_has_its_own_name_and_port() -> None:
    assert len({service.name for service in SERVICES}) == len({service.port for service in SERVICES}) == len(SERVICES)


def test_every_need_of_the_table_is_a_part(places: Places) -> None:
    parts = {part.name for part in plan_parts(places, ADMIN)}

    assert {need for service in SERVICES for need in service.needs} <= parts
