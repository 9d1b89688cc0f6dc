"""Usage by Kafka: tenants that an edge key may name, the topics bound to that key, and the logins that write there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.local.kafka.logins import login_file
from libs.bus.kafka import KafkaAccess
from tests.chaos.customer import Customer
from tests.chaos.hand import Hand
from tests.chaos.service import binding_file
from tests.chaos.ways import EVENTS_TOPIC, SPANS_TOPIC, Account
from tests.support.whole_stack import WholeStack

LOGINS: Final[Mapping[str, str]] = {EVENTS_TOPIC: "producer.chaos", SPANS_TOPIC: "collector.chaos"}
SETTINGS: Final = ("MAESTRO_USAGE_EVENTS_KEY_ID", "MAESTRO_OTLP_SPANS_KEY_ID")
AT_ONCE: Final = 25  # tenants of one key; a key takes a restart of metering


class Bound:
    """Tenants whose usage may come by Kafka, each given out once."""

    def __init__(self, stack: WholeStack, chaos: Path) -> None:
        """Bind nothing yet."""
        self._stack = stack
        self._chaos = chaos
        self._left: list[Account] = []

    def account(self, hand: Hand, customer: Customer) -> Account:
        """Return a tenant that nobody used before; now and then that makes a key and binds the topics to it."""
        if not self._left:
            hand.ensure_up()
            self._left = [customer.new_account(f"by Kafka {number}") for number in range(AT_ONCE)]
            key_id = customer.edge_key([one.tenant_id for one in self._left])
            binding_file(self._chaos).write_text(json.dumps(dict.fromkeys(SETTINGS, key_id)), encoding="utf-8")
            for login in LOGINS.values():
                hand.run_verb(f"maestro bus add-user {login} --reason chaos")
            self._stack.restart("metering")
        return replace(self._left.pop(), by_kafka=True)

    def logins(self) -> dict[str, KafkaAccess]:
        """Return who may write to which topic."""
        kafka, secrets = self._stack.kafka, self._stack.places.secrets
        return {
            topic: replace(kafka, user=login, password_file=login_file(secrets, login))
            for topic, login in LOGINS.items()
        }
