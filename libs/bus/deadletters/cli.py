"""`maestro dlq list|show|replay|drop`: the records that consumers set aside, and what a person decides about them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from libs.bus.deadletters import showing
from libs.bus.deadletters.register import Entry, Sought, State
from libs.bus.deadletters.replay import Desk, Verdict
from libs.bus.kafka import KafkaBus, access_of
from libs.bus.operating import act_of_operator, announcement
from libs.runtime.acts import Act
from libs.runtime.errors import MaestroError, Rejected
from libs.runtime.printable import printable
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import registry
from libs.store.pool import open_pool
from libs.store.roles import Role

SettingsOf = Callable[[str], ServiceSettings]
Deed = Callable[[Desk, Sequence[Entry], Act], Awaitable[list[Verdict]]]

OPEN: Final[tuple[State, ...]] = ("waiting", "replaying")
DONE, FAILED, LEFT_ALONE = 0, 1, 4  # 4: nothing went wrong, and not all that was named was done


class BadLetter(Rejected):
    """No letter is called so."""

    code = "bad_letter"
    title = "There is no such dead letter"


def _from_environment(_service: str) -> ServiceSettings:
    return ServiceSettings()


def main(arguments: Sequence[str] | None = None, settings_of: SettingsOf = _from_environment) -> int:
    """Run one verb. Returns 0, 1 where a service could not be asked, 4 where a letter that was named was left alone."""
    chosen = _parser().parse_args(arguments)
    try:
        return asyncio.run(_VERBS[chosen.verb](chosen, settings_of))
    except MaestroError as error:
        print(f"maestro dlq: {error.title}: {printable(error.detail)}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maestro dlq",
        description="Records that a consumer could not take: they lie on <topic>-dlq until somebody decides.",
        epilog="Examples: maestro dlq list --topic usage-windows    maestro dlq replay invoicing/17 --dry-run",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    _filters(verbs.add_parser("list", help="what waits for a decision, oldest first"))
    show = verbs.add_parser("show", help="all that is known of one letter, its payload included")
    show.add_argument("letter", help="as list names it: <service>/<number>")
    show.add_argument("--value-to", type=Path, help="write the value's bytes to this file")
    show.add_argument("--json", action="store_true", help="for scripts; bytes as base64")
    replay = verbs.add_parser(
        "replay",
        help="publish records again, byte for byte, once the fault is mended",
        description="Records go to the partition that they came from. An event is taken once, also if repeated.",
    )
    _filters(replay, named=True)
    replay.add_argument("--dry-run", action="store_true", help="say what would be done")
    replay.add_argument("--again", action="store_true", help="also what was replayed before and not seen to be taken")
    replay.add_argument("--reason", help="what was mended, kept with the letter; only a dry run needs none")
    drop = verbs.add_parser("drop", help="give records up; who did, when and why is kept")
    _filters(drop, named=True)
    drop.add_argument("--reason", required=True, help="why they are not needed; kept with the letter")
    return parser


def _filters(parser: argparse.ArgumentParser, *, named: bool = False) -> None:
    if named:
        parser.add_argument("letters", nargs="*", help="as list names them; without any, all that the filters leave")
    parser.add_argument("--service", choices=_services(), help="whose consumers set them aside")
    parser.add_argument("--topic", help="where they lay")
    parser.add_argument("--consumer", help="<service>.<purpose>")
    parser.add_argument("--fault", help="the word that they are counted under, as list shows it")
    parser.add_argument(
        "--state", choices=("open", "waiting", "replaying", "replayed", "dropped", "all"), default="open"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def _services() -> list[str]:
    return sorted({consumer for spec in registry().values() for consumer in spec.consumers})


def _sought(chosen: argparse.Namespace, ids: Sequence[int] = ()) -> Sought:
    states: dict[str, tuple[State, ...]] = {"open": OPEN, "all": ()}
    named = states.get(chosen.state, (chosen.state,))
    return Sought(ids, chosen.topic, chosen.consumer, chosen.fault, () if ids else named)


@asynccontextmanager
async def _desk(service: str, settings_of: SettingsOf) -> AsyncIterator[Desk]:
    """Open the desk of one service: its register, and the broker by the operator's own access."""
    settings = settings_of(service)
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, Role.WORKER, name=f"{service}.operator", max_size=2)
        stack.push_async_callback(pool.close)
        bus = KafkaBus(access_of(settings), client_id="maestro.operator")
        await bus.start()
        stack.push_async_callback(bus.stop)
        yield Desk(pool, bus)


def _named(letters: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers that are named, by service."""
    found: dict[str, list[int]] = {}
    for text in letters:
        service, _, number = text.partition("/")
        if service not in _services() or not number.isdecimal():
            raise BadLetter(f"{text!r}: name it as `maestro dlq list` does, <service>/<number>")
        found.setdefault(service, []).append(int(number))
    return found


async def _found(desk: Desk, service: str, sought: Sought) -> list[Entry]:
    """Return the letters of the service's own consumers: one database may hold those of several services."""
    found = [one for one in await desk.find(sought) if one.consumer.startswith(f"{service}.")]
    if missing := set(sought.ids) - {one.id for one in found}:
        raise BadLetter(f"{service} has no letter {', '.join(map(str, sorted(missing)))}")
    return found


async def _list(chosen: argparse.Namespace, settings_of: SettingsOf) -> int:
    listed: list[tuple[str, Entry]] = []
    unknown: list[str] = []
    for service in [chosen.service] if chosen.service else _services():
        try:
            async with _desk(service, settings_of) as desk:
                listed += [(service, entry) for entry in await _found(desk, service, _sought(chosen))]
        except MaestroError as error:
            unknown.append(service)
            print(f"maestro dlq: {service} cannot be asked: {printable(error.detail)}", file=sys.stderr)
    if chosen.json:
        _print_json([showing.document(service, entry) for service, entry in listed])
    else:
        for service, entry in listed:
            print(showing.line(service, entry))
    return FAILED if unknown else DONE


async def _show(chosen: argparse.Namespace, settings_of: SettingsOf) -> int:
    ((service, ids),) = _named([chosen.letter]).items()
    async with _desk(service, settings_of) as desk:
        (entry,) = await _found(desk, service, Sought(ids))
        record, steps = await desk.look(entry)
    if chosen.value_to and record is not None:
        chosen.value_to.write_bytes(record.value or b"")
    if chosen.json:
        _print_json(showing.whole_document(service, entry, record, steps))
    else:
        print("\n".join(showing.page(service, entry, record, steps)))
    return DONE


async def _replay(chosen: argparse.Namespace, settings_of: SettingsOf) -> int:
    async def replay(desk: Desk, entries: Sequence[Entry], act: Act) -> list[Verdict]:
        return await desk.replay(entries, act, again=chosen.again, dry_run=chosen.dry_run)

    return await _decide(chosen, settings_of, replay)


async def _drop(chosen: argparse.Namespace, settings_of: SettingsOf) -> int:
    async def drop(desk: Desk, entries: Sequence[Entry], act: Act) -> list[Verdict]:
        return await desk.drop(entries, act)

    return await _decide(chosen, settings_of, drop)


async def _decide(chosen: argparse.Namespace, settings_of: SettingsOf, deed: Deed) -> int:
    """Do `deed(desk, entries, act)` service by service, and say what became of every letter."""
    verdicts: list[tuple[str, Verdict]] = []
    meant = _meant(chosen)
    changes_nothing = chosen.verb == "replay" and chosen.dry_run
    act = act_of_operator(settings_of(next(iter(meant))), "a dry run" if changes_nothing else chosen.reason)
    if not changes_nothing:
        print(f"maestro dlq: {announcement(act)}", file=sys.stderr)
    for service, sought in meant.items():
        async with _desk(service, settings_of) as desk:
            found = await deed(desk, await _found(desk, service, sought), act)
            verdicts += [(service, verdict) for verdict in found]
    if chosen.json:
        _print_json([showing.verdict_document(service, verdict) for service, verdict in verdicts])
    else:
        print("".join(showing.verdict_line(service, verdict) + "\n" for service, verdict in verdicts), end="")
    return LEFT_ALONE if any(verdict.outcome == "left alone" for _, verdict in verdicts) else DONE


def _meant(chosen: argparse.Namespace) -> dict[str, Sought]:
    """Return which letters of which services are meant: those named, else what the filters leave; never simply all."""
    if chosen.letters:
        return {service: _sought(chosen, ids) for service, ids in _named(chosen.letters).items()}
    if not any((chosen.service, chosen.topic, chosen.consumer, chosen.fault)):
        raise BadLetter("name letters, or say which by --service, --topic, --consumer or --fault")
    return dict.fromkeys([chosen.service] if chosen.service else _services(), _sought(chosen))


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=1))


_VERBS: Final = {"list": _list, "show": _show, "replay": _replay, "drop": _drop}
