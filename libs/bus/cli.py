"""`maestro bus`: where a consumer or a restored store goes on, and who may do what at the broker."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from libs.bus.kafka import KafkaBus, access_of
from libs.bus.operating import act_of_operator, announcement
from libs.bus.operator import BadReset, Reset, Step, Target, raise_epoch, reset_committed, reset_offset
from libs.bus.permissions import PERMISSION_VERBS, Outcome, add_verbs, keeper_of, run_verb
from libs.bus.ports import Bus
from libs.runtime.acts import Act
from libs.runtime.errors import MaestroError
from libs.runtime.printable import printable
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import registry
from libs.store.pool import Pool, open_pool
from libs.store.roles import Role

SettingsOf = Callable[[str | None], ServiceSettings]


def _from_environment(_service: str | None) -> ServiceSettings:
    return ServiceSettings()


def main(arguments: Sequence[str] | None = None, settings_of: SettingsOf = _from_environment) -> int:
    """Run one verb; 0 where it succeeded, 1 where it did not, with the reason on standard error.

    `settings_of(service)` tells where a service's store and broker are, the key of pseudonyms, and the operator's login
    at the broker; without a service the broker alone.
    """
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.verb in PERMISSION_VERBS:
            return _show(asyncio.run(run_verb(chosen, settings_of(keeper_of(chosen.verb)))))
        settings = settings_of(chosen.service)
        act = act_of_operator(settings, chosen.reason)
        print(f"maestro bus: {announcement(act)}", file=sys.stderr)
        lines = asyncio.run(_run(chosen, settings, act))
    except MaestroError as error:
        print(printable(f"maestro bus: {error.title}: {error.detail}"), file=sys.stderr)
        return 1
    print("\n".join(map(printable, lines)))
    return 0


def _show(outcome: Outcome) -> int:
    for line in outcome.lines:  # an ACL's user is whatever somebody wrote at the broker
        print(printable(line))
    return outcome.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maestro bus", description="Offsets, restored stores, logins and ACLs.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_verbs(verbs)
    reset = verbs.add_parser(
        "reset-offset",
        help="let a consumer go on at another offset",
        description="Records in between are skipped, or handled again. The step is kept, also by evidence.",
    )
    reset.add_argument("--service", required=True, help="whose store the offset lies in")
    reset.add_argument("--consumer", required=True, help="<service>.<purpose>, as the error names it")
    reset.add_argument("--topic", required=True)
    reset.add_argument("--partition", required=True, help="a number, or all")
    reset.add_argument("--to", required=True, help="earliest, latest or an offset")
    reset.add_argument(
        "--kept-in", choices=("store", "broker"), default="store", help="where its offsets lie, as the error names it"
    )
    reset.add_argument("--reason", required=True, help="kept with the step")
    lift = verbs.add_parser(
        "raise-epoch",
        help="let a service go on with a store that was restored or promoted",
        description="What the service says from now on counts as newer than all that it said before.",
    )
    lift.add_argument("--service", required=True, help="whose store was restored")
    lift.add_argument("--reason", required=True, help="kept with the epoch")
    return parser


async def _run(chosen: argparse.Namespace, settings: ServiceSettings, act: Act) -> list[str]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, Role.WORKER, name=f"{chosen.service}.operator", max_size=2)
        stack.push_async_callback(pool.close)
        bus = KafkaBus(access_of(settings), client_id="maestro.operator")
        await bus.start()
        stack.push_async_callback(bus.stop)
        if chosen.verb == "raise-epoch":
            before, now = await raise_epoch(pool, bus, service=chosen.service, act=act)
            return [f"store of {chosen.service}: epoch {before} -> {now}"]
        return [_line(one) for one in await _reset(pool, bus, chosen, act)]


async def _reset(pool: Pool, bus: Bus, chosen: argparse.Namespace, act: Act) -> list[Reset]:
    every = chosen.partition == "all"
    numbers = range(await bus.partitions(chosen.topic)) if every else [_number(chosen.partition)]
    reset = reset_committed if chosen.kept_in == "broker" else reset_offset
    return [await reset(pool, bus, _step(chosen, number, act)) for number in numbers]


def _step(chosen: argparse.Namespace, partition: int, act: Act) -> Step:
    if not chosen.consumer.startswith(f"{chosen.service}."):
        raise BadReset(f"{chosen.consumer!r} is no consumer of {chosen.service}")
    spec = registry().get(chosen.topic)
    if spec is not None and chosen.service not in spec.consumers:  # an offset in it would stand for ever
        raise BadReset(f"{chosen.service} does not read {chosen.topic}; that do {', '.join(sorted(spec.consumers))}")
    return Step(chosen.consumer, chosen.topic, partition, _target(chosen.to), act)


def _line(one: Reset) -> str:
    before = "nothing" if one.before_next is None else one.before_next
    return f"{one.consumer} {one.topic}[{one.partition}]: {before} -> {one.after_next}"


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadReset(f"{text!r} is not a number")
    return int(text)


def _target(text: str) -> Target:
    named: dict[str, Target] = {"earliest": "earliest", "latest": "latest"}
    return named[text] if text in named else _number(text)
