"""The operator's verbs of the bus: `maestro bus reset-offset`."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from libs.bus.kafka import KafkaBus
from libs.bus.operator import BadReset, Reset, Target, reset_offset
from libs.runtime.errors import MaestroError
from libs.runtime.settings import ServiceSettings
from libs.store.pool import open_pool

SettingsOf = Callable[[str], ServiceSettings]


def register(app: typer.Typer, settings_of: SettingsOf | None = None) -> None:
    """Mount `bus` on `app`. `settings_of(service)` tells where a store is; by default this environment does."""
    bus = typer.Typer(help="The stored offsets of consumers.", no_args_is_help=True)
    app.add_typer(bus, name="bus")

    @bus.callback()
    def verbs() -> None:
        """Stored offsets of consumers."""

    @bus.command("reset-offset")
    def reset(
        service: Annotated[str, typer.Option(help="whose store the offset lies in")],
        consumer: Annotated[str, typer.Option(help="<service>.<purpose>, as the error names it")],
        topic: Annotated[str, typer.Option()],
        partition: Annotated[str, typer.Option(help="a number, or all")],
        to: Annotated[str, typer.Option(help="earliest, latest or an offset")],
        reason: Annotated[str, typer.Option(help="kept with the step")] = "not given",
    ) -> None:
        """Let a consumer that stopped go on at another offset. Records in between are skipped, or handled again."""
        settings = settings_of(service) if settings_of is not None else ServiceSettings()
        try:
            done = asyncio.run(_reset(settings, service, consumer, topic, partition, to, reason))
        except MaestroError as error:
            typer.echo(f"{error.title}: {error.detail}", err=True)
            raise typer.Exit(1) from error
        for one in done:
            typer.echo(f"{one.consumer} {one.topic}[{one.partition}]: {one.before_next} -> {one.after_next}")


async def _reset(
    settings: ServiceSettings, service: str, consumer: str, topic: str, partition: str, to: str, reason: str
) -> list[Reset]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, name=f"{service}.operator", max_size=2)
        stack.push_async_callback(pool.close)
        bus = KafkaBus(settings.kafka_bootstrap, client_id="maestro.operator")
        await bus.start()
        stack.push_async_callback(bus.stop)
        numbers = range(await bus.partitions(topic)) if partition == "all" else [_number(partition)]
        return [
            await reset_offset(
                pool,
                bus,
                consumer=consumer,
                topic=topic,
                partition=number,
                to=_target(to),
                by=getpass.getuser(),
                reason=reason,
            )
            for number in numbers
        ]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadReset(f"{text!r} is not a number")
    return int(text)


def _target(text: str) -> Target:
    named: dict[str, Target] = {"earliest": "earliest", "latest": "latest"}
    return named[text] if text in named else _number(text)
