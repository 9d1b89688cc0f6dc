"""The catalogue of faults. Each is done while usage is being sent, or while invoices are being made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from libs.bus.kafka import KafkaAccess
from libs.schemas.topics import registry
from tests.chaos.hand import Hand
from tests.support.bus import kafka_broker
from tests.support.stack import in_own_loop
from tests.support.whole_stack import (
    CONSUMER_COMMITTED,
    CONSUMER_EFFECT,
    DLQ_PUBLISHED,
    EDGE_DURABLE,
    INVOICE_ISSUING,
    PERIOD_FROZEN,
    RELAY_PUBLISHED,
    RELAY_SEQUENCED,
    ROUTED,
    WINDOWS_PUBLISHED,
)

Fault = Callable[[Hand], None]

SESSION_S: Final = 10.0  # libs.bus.kafka.subscriber: after it a member's partitions are another's
FREEZE_S: Final = 30.0  # past every lease, session and publish of libs/bus
OUTAGE_S: Final = 3.0
MARKED_S: Final = 2.5  # within it a store has told the broker how far it is: what it does later may be lost unnoticed
FULL_DISK: Final = "full disk under postgres"
PATIENCE_S: Final = {"kafka": 30.0, "postgres": 45.0, "valkey": 30.0}  # past the longest time limit of their clients
STEP_S: Final = 840.0  # within the 15 minutes that an edge accepts a time ahead of its own


def kill(name: str, hand: Hand) -> None:
    """SIGKILL."""
    hand.kill(name)


def crash(point: str, hand: Hand) -> None:
    """Have the next process that comes to the crash point die there."""
    hand.stack.arm(point)
    hand.undo.callback(_disarm, point, hand)


def _disarm(point: str, hand: Hand) -> None:
    if not hand.stack.has_crashed(point):
        hand.say(f"{point} not reached")
    hand.stack.disarm(point)


def freeze(name: str, seconds: float, hand: Hand) -> None:
    """SIGSTOP for some seconds."""
    with hand.frozen(name):
        hand.wait(seconds, seconds)


def freeze_an_owner(name: str, seconds: float, hand: Hand) -> None:
    """Freeze a service until a second process of it has its partitions; it wakes as a zombie while that one works."""
    with hand.second(name):
        hand.wait(2.0, 4.0)
        freeze(name, seconds, hand)
        hand.wait(1.0, 2.0)


def freeze_identity(hand: Hand) -> None:
    """Freeze identity where its relay may have a new tenant in hand; a second process has the lease meanwhile."""
    with hand.second("identity"):
        hand.wait(2.0, 4.0)
        is_known = hand.register()
        freeze("identity", FREEZE_S, hand)
        is_known()


def freeze_while_closing(name: str, hand: Hand) -> None:
    """Freeze a service over the invoices that are being made; a second process finishes them, then the first wakes."""
    with hand.second(name):
        hand.wait(3.0, 5.0)
        hand.ask_invoices()
        hand.wait(0.0, 0.8)
        freeze(name, FREEZE_S, hand)
        hand.wait(1.0, 2.0)


def replay_letters(hand: Hand) -> None:
    """Records with one bad event in them are replayed; the command dies when they are published, and is given again."""
    command = "maestro dlq replay --service metering --topic usage-events --reason chaos"
    crash(DLQ_PUBLISHED, hand)
    hand.stack.wait_for(lambda: _dies(command, hand), "a letter to replay")
    hand.run_verb(command)


def _dies(command: str, hand: Hand) -> bool:
    hand.try_verb(command)
    return hand.stack.has_crashed(DLQ_PUBLISHED)


def rebalance(hand: Hand) -> None:
    """A second metering comes, works, and is killed; its partitions come back when its session is over."""
    with hand.second("metering"):
        hand.wait(4.0, 7.0)


def replay_usage(hand: Hand) -> None:
    """All of usage-shards is read again from its start."""
    _reset(hand, "metering", "metering.shards", "usage-shards")


def replay_windows(hand: Hand) -> None:
    """All of usage-windows is read again from its start, by invoicing and by quota."""
    _reset(hand, "invoicing", "invoicing.windows", "usage-windows")
    _reset(hand, "quota", "quota.gauges", "usage-windows")


def _reset(hand: Hand, service: str, consumer: str, topic: str) -> None:
    hand.run_verb(
        f"maestro bus reset-offset --service {service} --consumer {consumer} --topic {topic} --partition all "
        "--to earliest --reason chaos"
    )


def full_disk(hand: Hand) -> None:
    """PostgreSQL has no room left, for a while."""
    with hand.full_disk():
        hand.wait(OUTAGE_S, OUTAGE_S)


def no_room(name: str, hand: Hand) -> None:
    """The part can write no file, for a while."""
    with hand.no_room_for_files(name):
        hand.wait(OUTAGE_S, OUTAGE_S)


def step_clocks(hand: Hand) -> None:
    """The wall clocks of all services step, each its own way."""
    for service in ("identity", "metering", "quota", "invoicing", "evidence"):
        hand.step_clock(service, hand.random.uniform(-STEP_S, STEP_S))


def restore(hand: Hand) -> None:
    """metering's database is restored to what it was; the command that its refusal names lets it go on."""
    hand.back_up("metering")
    saved = hand.reached("metering")
    hand.stack.wait_for(lambda: hand.reached("metering") > saved, "metering to go on after its backup")
    hand.ensure_up()
    hand.wait(MARKED_S, MARKED_S)
    since = hand.log_end("metering")
    hand.restore("metering")
    hand.run_verb(hand.named_verb("metering", "raise-epoch", since).replace('"..."', "chaos"))
    hand.say("refused, raised")


def topic_made_again(hand: Hand) -> None:
    """close-requests is deleted and made again; the command that the refusal names lets metering go on."""
    since = hand.log_end("metering")
    in_own_loop(_make_again(hand.stack.kafka, "close-requests"))
    hand.kill("metering")
    command = hand.named_verb("metering", "reset-offset", since)
    words = command.replace("earliest|latest|N", "earliest").split(" --partition ")
    hand.run_verb(f"{words[0]} --partition all --to earliest --reason chaos")
    hand.say("refused, reset")


async def _make_again(kafka: KafkaAccess, topic: str) -> None:
    async with kafka_broker(kafka) as broker:
        await broker.delete_topic(topic)
        await broker.bus.ensure_topics([registry()[topic]])


# What each seed has one of, in turn, so that so many seeds in a row have seen all.
MAIN: Final[Mapping[str, Fault]] = {
    "kill kafka": partial(kill, "kafka"),
    "rebalance": rebalance,
    "restore metering's database": restore,
    "kill postgres": partial(kill, "postgres"),
    "freeze an owner past its session": partial(freeze_an_owner, "metering", SESSION_S + 3.0),
    "replay usage": replay_usage,
    FULL_DISK: full_disk,
    "kill valkey": partial(kill, "valkey"),
    "no room for kafka": partial(no_room, "kafka"),
    "clock steps": step_clocks,
    "topic made again": topic_made_again,
    "freeze kafka": partial(freeze, "kafka", OUTAGE_S),
    "replay windows": replay_windows,
    "freeze postgres": partial(freeze, "postgres", OUTAGE_S),
    "freeze an owner past its lease": partial(freeze_an_owner, "metering", FREEZE_S),
    "freeze identity past its lease": freeze_identity,
    "replay dead letters": replay_letters,
    "freeze quota past its lease": partial(freeze_an_owner, "quota", FREEZE_S),
    "freeze invoicing past its lease": partial(freeze_while_closing, "invoicing"),
    "freeze metering": partial(freeze, "metering", OUTAGE_S),
    "freeze evidence past its lease": partial(freeze_while_closing, "evidence"),
    **{
        f"freeze {name} past its clients' patience": partial(freeze, name, time_s)
        for name, time_s in PATIENCE_S.items()
    },
}
ASK_THEMSELVES: Final = frozenset({"freeze invoicing past its lease", "freeze evidence past its lease"})
BESIDE: Final[Mapping[str, Fault]] = {
    **{f"kill {name}": partial(kill, name) for name in ("identity", "metering", "quota", "invoicing", "evidence")},
    **{f"crash {point}": partial(crash, point) for point in (CONSUMER_EFFECT, CONSUMER_COMMITTED)},
    **{f"crash {point}": partial(crash, point) for point in (EDGE_DURABLE, WINDOWS_PUBLISHED, ROUTED)},
}
WHILE_CLOSING: Final[Mapping[str, Fault]] = {
    **{f"kill {name}": partial(kill, name) for name in ("metering", "invoicing", "evidence")},
    **{f"crash {point}": partial(crash, point) for point in (RELAY_SEQUENCED, RELAY_PUBLISHED, PERIOD_FROZEN)},
    **{f"crash {point}": partial(crash, point) for point in (CONSUMER_EFFECT, CONSUMER_COMMITTED, INVOICE_ISSUING)},
    "no room for invoicing": partial(no_room, "invoicing"),
}
NEEDS_CHAOS_STACK: Final = frozenset({"clock steps", FULL_DISK, "replay dead letters"})
# Those that any stack can have, and that are over in seconds: what every run of the tests has two of.
BRIEF: Final = tuple(name for name in MAIN if name not in NEEDS_CHAOS_STACK and " past its " not in name)
WITHOUT_ROUTER: Final = tuple(sorted(BESIDE.keys() - {f"crash {ROUTED}"}))
