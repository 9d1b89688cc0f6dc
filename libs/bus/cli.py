"""`maestro bus reset-offset`: let a consumer that stopped go on at another offset."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from libs.bus.kafka import KafkaBus
from libs.bus.operator import BadReset, Reset, Target, reset_offset
from libs.runtime.errors import MaestroError
from libs.runtime.settings import ServiceSettings
from libs.store.pool import open_pool

SettingsOf = Callable[[str], ServiceSettings]


def _from_environment(_service: str) -> ServiceSettings:
    return ServiceSettings()


def main(arguments: Sequence[str] | None = None, settings_of: SettingsOf = _from_environment) -> int:
    """Run one verb; 0 where it succeeded, 1 where it did not, with the reason on standard error.

    `settings_of(service)` tells where a service's store and broker are.
    """
    chosen = _parser().parse_args(arguments)
    try:
        done = asyncio.run(_reset(chosen, settings_of(chosen.service)))
    except MaestroError as error:
        print(f"maestro bus: {error.title}: {error.detail}", file=sys.stderr)
        return 1
    for one in done:
        before = "nothing" if one.before_next is None else one.before_next
        print(f"{one.consumer} {one.topic}[{one.partition}]: {before} -> {one.after_next}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maestro bus", description="The stored offsets of consumers.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    reset = verbs.add_parser(
        "reset-offset",
        help="let a consumer go on at another offset",
        description="Records in between are skipped, or handled again. The step is kept in consumer_offset_reset.",
    )
    reset.add_argument("--service", required=True, help="whose store the offset lies in")
    reset.add_argument("--consumer", required=True, help="<service>.<purpose>, as the error names it")
    reset.add_argument("--topic", required=True)
    reset.add_argument("--partition", required=True, help="a number, or all")
    reset.add_argument("--to", required=True, help="earliest, latest or an offset")
    reset.add_argument("--reason", default="not given", help="kept with the step")
    return parser


async def _reset(chosen: argparse.Namespace, settings: ServiceSettings) -> list[Reset]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, name=f"{chosen.service}.operator", max_size=2)
        stack.push_async_callback(pool.close)
        bus = KafkaBus(settings.kafka_bootstrap, client_id="maestro.operator")
        await bus.start()
        stack.push_async_callback(bus.stop)
        every = chosen.partition == "all"
        return [
            await reset_offset(
                pool,
                bus,
                consumer=chosen.consumer,
                topic=chosen.topic,
                partition=number,
                to=_target(chosen.to),
                by=getpass.getuser(),
                reason=chosen.reason,
            )
            for number in (range(await bus.partitions(chosen.topic)) if every else [_number(chosen.partition)])
        ]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadReset(f"{text!r} is not a number")
    return int(text)


def _target(text: str) -> Target:
    named: dict[str, Target] = {"earliest": "earliest", "latest": "latest"}
    return named[text] if text in named else _number(text)
