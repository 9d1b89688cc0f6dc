"""The settings of the stack itself, by name; what a service is told stands in `services.py`."""

from __future__ import annotations

from typing import Final

STATE_SETTING: Final = "MAESTRO_STATE_DIR"  # the state folder, in place of .maestro in the checkout
ACCOUNT_SETTING: Final = "MAESTRO_UNPRIVILEGED_ACCOUNT"  # who PostgreSQL runs as when root starts the stack
POSTGRES_SETTING: Final = "MAESTRO_POSTGRES_URL"  # an administrator's DSN of a PostgreSQL of yours
REDIS_SETTING: Final = "MAESTRO_REDIS_URL"  # a Valkey or Redis of yours, with its password
KAFKA_SETTING: Final = "MAESTRO_KAFKA_BOOTSTRAP"  # host:port of a Kafka of yours
ADMINISTRATIVE: Final = (POSTGRES_SETTING, REDIS_SETTING, KAFKA_SETTING)
