"""The settings of the stack itself, by name; what a service is told stands in `services.py`."""

from __future__ import annotations

from typing import Final

STATE_SETTING: Final = "MAESTRO_STATE_DIR"  # the state folder, in place of .maestro in the checkout
ACCOUNT_SETTING: Final = "MAESTRO_UNPRIVILEGED_ACCOUNT"  # who PostgreSQL runs as when root starts the stack
POSTGRES_SETTING: Final = "MAESTRO_POSTGRES_URL"  # an administrator's DSN of a PostgreSQL of yours
POSTGRES_LOGIN_FILE_SETTING: Final = "MAESTRO_POSTGRES_PASSWORD_FILE"  # the file that holds his password
REDIS_SETTING: Final = "MAESTRO_REDIS_URL"  # a Valkey or Redis of yours, with the limiter's user
REDIS_LOGIN_FILE_SETTING: Final = "MAESTRO_REDIS_PASSWORD_FILE"  # the file that holds that user's password
KAFKA_SETTING: Final = "MAESTRO_KAFKA_BOOTSTRAP"  # host:port of a Kafka of yours
KAFKA_USER_SETTING: Final = "MAESTRO_KAFKA_USER"  # a super user there, by SCRAM-SHA-512
KAFKA_LOGIN_FILE_SETTING: Final = "MAESTRO_KAFKA_PASSWORD_FILE"  # the file that holds the super user's password
KAFKA_PROTOCOL_SETTING: Final = "MAESTRO_KAFKA_PROTOCOL"  # SASL_SSL where it speaks TLS
KAFKA_CA_SETTING: Final = "MAESTRO_KAFKA_CA_FILE"  # PEM of the authorities to trust in place of the machine's
PROFILE_SETTING: Final = "MAESTRO_PROFILE"  # clustered: servers of yours over a network, with TLS to all three
LOGIN_FILES: Final = {  # whose password lies where
    POSTGRES_SETTING: POSTGRES_LOGIN_FILE_SETTING,
    REDIS_SETTING: REDIS_LOGIN_FILE_SETTING,
    KAFKA_SETTING: KAFKA_LOGIN_FILE_SETTING,
}
ADMINISTRATIVE: Final = (*LOGIN_FILES, *LOGIN_FILES.values(), KAFKA_USER_SETTING)
