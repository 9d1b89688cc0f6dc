"""The whole stack for tests: every server and every service as its own process, in a state folder of its own.

It is started once a session, the way `maestro up` does it, and ended by the way of `maestro down`. Every process of it
knows the CRASH_POINTS, which do nothing until a test arms them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up, restart, take_down
from deploy.local.places import Places, lay_places
from deploy.local.settings import STATE_SETTING
from deploy.local.status import PartStatus, Phase, StackStatus, live_status
from libs.bus.kafka import KafkaAccess
from samples.hello_tenant.stack import Stack, stack_of
from tests.support.kafka import operator_access
from tests.support.patient_stack import PROGRAM as PATIENT_PROGRAM

RELAY_SEQUENCED = "relay.sequenced"  # the outbox rows have their sequences, Kafka has nothing
RELAY_PUBLISHED = "relay.published"  # Kafka has the events, the outbox rows are not marked
CONSUMER_EFFECT = "consumer.effect"  # the effect is made, not committed
CONSUMER_COMMITTED = "consumer.committed"  # effect and offset are committed, and nobody was told
EDGE_DURABLE = "metering.edge_durable"  # Kafka has the usage, the sender has no answer
ROUTED = "metering.routed"  # usage-shards has the usage of others, their topic's offset has not moved
DLQ_PUBLISHED = "dlq.published"  # letters are back where they came from, and not marked as replayed
WINDOWS_PUBLISHED = "metering.windows_published"  # Kafka has the totals, they are not marked as told
PERIOD_FROZEN = "metering.period_frozen"  # a close is made and said, not committed
INVOICE_ISSUING = "invoicing.issuing"  # an invoice is written and said, not committed
CRASH_POINTS = (
    *(RELAY_SEQUENCED, RELAY_PUBLISHED, CONSUMER_EFFECT, CONSUMER_COMMITTED),
    *(EDGE_DURABLE, WINDOWS_PUBLISHED, PERIOD_FROZEN, INVOICE_ISSUING, ROUTED, DLQ_PUBLISHED),
)
BACK_WITHIN_S = 60.0  # a killed service is back in seconds; minutes mean that it will not come back
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class WholeStack:
    """A running stack: what the demo needs to know of it, and how a test kills parts of it."""

    places: Places
    addresses: Stack
    markers: Path
    environ: dict[str, str]

    @property
    def kafka(self) -> KafkaAccess:
        """The operator's access to the stack's broker."""
        return operator_access(self.places, self.part("kafka").address)

    def part(self, name: str) -> PartStatus:
        """What the supervisor says of one part now."""
        status = live_status(self.places)
        part = status.part(name) if status else None
        assert part is not None, f"the supervisor knows no {name}"
        return part

    def kill(self, name: str) -> None:
        """End a part by SIGKILL, and return when the supervisor has brought it back."""
        before = self.part(name)
        assert before.process is not None
        before.process.send(signal.SIGKILL)
        self.wait_for(lambda: self._is_back(name, before), f"{name} after its kill")

    def restart(self, *names: str) -> dict[str, str]:
        """Restart parts as `maestro restart` does; how the process of each ended."""
        status = restart(self.places, names, lambda _: None)
        assert status.is_ready(), _complaints(status)
        return {part.name: part.last_end for part in status.parts if part.name in names}

    def arm(self, crash_point: str) -> None:
        """Have the next process that passes the crash point die there, whichever it is."""
        self._marker(crash_point).unlink(missing_ok=True)

    def has_crashed(self, crash_point: str) -> bool:
        """Whether a process died there since it was armed."""
        return self._marker(crash_point).exists()

    def disarm(self, crash_point: str) -> None:
        """Let processes pass."""
        self._marker(crash_point).touch()

    def _marker(self, crash_point: str) -> Path:
        return self.markers / crash_point

    def wait_until_ready(self) -> None:
        """Return when every part answers."""
        self.wait_for(self._is_ready, "all parts to answer")

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        """Return when `holds` does; fail the test where that takes longer than BACK_WITHIN_S."""
        deadline = time.monotonic() + BACK_WITHIN_S
        while not holds():
            assert time.monotonic() < deadline, f"waited {BACK_WITHIN_S:.0f} s for {what}: {self._complaints()}"
            time.sleep(LOOK_EVERY_S)

    def _complaints(self) -> str:
        status = live_status(self.places)
        return _complaints(status) if status else "the supervisor is gone"

    def _is_ready(self) -> bool:
        status = live_status(self.places)
        return status is not None and status.is_ready()

    def _is_back(self, name: str, before: PartStatus) -> bool:
        now = self.part(name)
        return now.phase is Phase.READY and now.process != before.process


@pytest.fixture(scope="session")
def stack() -> Iterator[WholeStack]:
    """The session's stack."""
    with standing(told={"MAESTRO_ARCHIVE_MAX_AGE_S": "2"}) as found:
        yield found


@contextmanager
def standing(
    program: str = PATIENT_PROGRAM,
    told: Mapping[str, str] | None = None,
    prepare: Callable[[Path], None] = lambda _home: None,
) -> Iterator[WholeStack]:
    """A stack that `program` supervises, until the block ends.

    `told` are further settings of all its processes; `prepare` gets its folder before anything is in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="maestro-stack-", dir="/tmp"))
    folder.chmod(0o711)  # the account that PostgreSQL runs under passes through
    places = lay_places(folder / "s", unprivileged_account(os.environ))
    prepare(places.home)
    crash_at = ",".join(f"{name}:{folder / name}" for name in CRASH_POINTS)
    for name in CRASH_POINTS:
        (folder / name).touch()  # while it exists, the crash point does nothing
    soon = {"MAESTRO_ARCHIVE_MAX_AGE_S": "2"}  # who asks the archive does not wait a minute for it
    environ = {**os.environ, STATE_SETTING: str(places.home), "MAESTRO_CRASH_AT": crash_at, **soon, **(told or {})}
    try:
        status = bring_up(places, environ, lambda _: None, program)
        assert status.is_ready(), _complaints(status)
        yield WholeStack(places, stack_of(places, status), folder, environ)
    finally:
        take_down(places, lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)


def _complaints(status: StackStatus) -> str:
    return "; ".join(
        f"{part.name}: {part.phase} {part.detail}" for part in status.parts if part.phase is not Phase.READY
    )
