"""The supervisor starts in order, asks whether a part is ready, starts the dead again and leaves nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.errors import NotOurs
from deploy.local.processes import Identity
from deploy.local.status import Board, Phase, read_status
from deploy.local.supervisor import end_orphans, only_one, start_order
from tests.support.small_parts import (
    DIES_TALKING,
    IGNORES_TERM,
    NEVER_SIGNS,
    NOTES_ITS_END,
    WITHIN_S,
    SmallPart,
    places_in,
    running,
)

GONE = Identity(pid=2**22 + 1, started_ticks=1)  # above the largest process id of Linux


async def test_a_part_is_ready_only_when_it_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("mute", tmp_path, NEVER_SIGNS)) as stack:
        part = await stack.reaches("mute", Phase.STARTING, lambda status: status.answer == "no sign yet")

        assert part.detail == "waits for its sign"


async def test_a_part_starts_after_what_it_needs_is_ready(tmp_path: Path) -> None:
    server = SmallPart("server", tmp_path)
    service = SmallPart("service", tmp_path, needs=("server",))

    async with running(tmp_path, service, server) as stack:
        await stack.reaches("service", Phase.READY)

        assert (tmp_path / "starts").read_text() == "server service "


async def test_a_part_that_waits_names_what_it_waits_for(tmp_path: Path) -> None:
    server = SmallPart("server", tmp_path, NEVER_SIGNS)
    service = SmallPart("service", tmp_path, needs=("server",))

    async with running(tmp_path, service, server) as stack:
        part = await stack.reaches("service", Phase.WAITING)

        assert part.detail == "waits for server"


async def test_parts_stop_after_everything_that_needs_them(tmp_path: Path) -> None:
    server = SmallPart("server", tmp_path, NOTES_ITS_END)
    service = SmallPart("service", tmp_path, NOTES_ITS_END, needs=("server",))

    async with running(tmp_path, server, service) as stack:
        await stack.reaches("service", Phase.READY)

    assert (tmp_path / "ends").read_text() == "service server "


async def test_nothing_is_left_after_the_stop(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("kept", tmp_path)) as stack:
        identity = (await stack.reaches("kept", Phase.READY)).process

    assert identity is not None
    assert not identity.is_alive()
    assert stack.part("kept").phase is Phase.STOPPED


async def test_a_part_that_ignores_the_stop_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = SmallPart("deaf", tmp_path, IGNORES_TERM, stop_grace_s=0.1)

    async with running(tmp_path, deaf) as stack:
        identity = (await stack.reaches("deaf", Phase.READY)).process

    assert identity is not None
    assert not identity.is_alive()


async def test_a_part_that_was_killed_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("hit", tmp_path)) as stack:
        first = (await stack.reaches("hit", Phase.READY)).process
        assert first is not None

        first.send(signal.SIGKILL)
        again = await stack.reaches("hit", Phase.READY, lambda part: part.restarts == 1)

        assert again.process not in (None, first)


async def test_a_part_that_dies_at_its_start_is_given_up_and_says_how_it_ended(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("ill", tmp_path, DIES_TALKING)) as stack:
        part = await stack.reaches("ill", Phase.FAILED)

        assert part.detail == "exited with code 7, 3 times within 60 s"
        assert part.fix == "maestro logs ill"
        assert part.process is None


async def test_a_part_that_was_given_up_is_tried_again_on_request(tmp_path: Path) -> None:
    cured = SmallPart("cured", tmp_path, DIES_TALKING)

    async with running(tmp_path, cured) as stack:
        await stack.reaches("cured", Phase.FAILED)
        cured.program = SmallPart("healthy", tmp_path).program
        stack.supervisor.retry_failed()

        await stack.reaches("cured", Phase.READY)


async def test_a_part_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    mute = SmallPart("mute", tmp_path, NEVER_SIGNS, ready_within_s=0.2)

    async with running(tmp_path, mute) as stack:
        identity = (await stack.reaches("mute", Phase.STARTING, lambda part: part.process is not None)).process
        part = await stack.reaches("mute", Phase.FAILED)

        assert part.detail == "is not ready 0 s after its start: no sign yet"
        assert identity is not None
        assert not identity.is_alive()


async def test_a_restart_ends_a_part_by_its_stop_signal_and_counts_no_death(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("fresh", tmp_path, NOTES_ITS_END)) as stack:
        first = (await stack.reaches("fresh", Phase.READY)).process

        await stack.supervisor.roll(["fresh"])

        part = stack.part("fresh")
        assert (tmp_path / "ends").read_text() == "fresh "
        assert part.process not in (None, first)
        assert part.restarts == 0
        assert part.last_end.startswith("ended in ")


async def test_a_part_that_had_to_be_killed_for_its_restart_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("deaf", tmp_path, IGNORES_TERM, stop_grace_s=0.1)) as stack:
        await stack.reaches("deaf", Phase.READY)

        await stack.supervisor.roll(["deaf"])

        assert stack.part("deaf").last_end.startswith("killed after ")


async def test_parts_are_restarted_one_after_the_other_in_the_order_of_their_start(tmp_path: Path) -> None:
    server = SmallPart("server", tmp_path, NOTES_ITS_END)
    service = SmallPart("service", tmp_path, NOTES_ITS_END, needs=("server",))
    async with running(tmp_path, server, service) as stack:
        await stack.reaches("service", Phase.READY)

        await stack.supervisor.roll(["service", "server"])

        assert (tmp_path / "ends").read_text() == "server service "
        assert (tmp_path / "starts").read_text() == "server service server service "


async def test_a_part_that_does_not_come_back_leaves_those_after_it_alone(tmp_path: Path) -> None:
    ill = SmallPart("ill", tmp_path)
    spared = SmallPart("spared", tmp_path, needs=("ill",))
    async with running(tmp_path, ill, spared) as stack:
        process = (await stack.reaches("spared", Phase.READY)).process
        ill.program = DIES_TALKING

        await stack.supervisor.roll(["ill", "spared"])

        assert stack.part("ill").phase is Phase.FAILED
        assert stack.part("spared").process == process


async def test_a_part_that_was_given_up_is_tried_again_by_a_restart(tmp_path: Path) -> None:
    cured = SmallPart("cured", tmp_path, DIES_TALKING)
    async with running(tmp_path, cured) as stack:
        await stack.reaches("cured", Phase.FAILED)
        cured.program = SmallPart("healthy", tmp_path).program

        await stack.supervisor.roll(["cured"])

        assert stack.part("cured").phase is Phase.READY
        assert (tmp_path / "starts").read_text() == "cured cured cured cured "


async def test_the_death_of_one_part_leaves_the_others_alone(tmp_path: Path) -> None:
    healthy, ill = SmallPart("healthy", tmp_path), SmallPart("ill", tmp_path, DIES_TALKING)

    async with running(tmp_path, healthy, ill) as stack:
        before = (await stack.reaches("healthy", Phase.READY)).process
        await stack.reaches("ill", Phase.FAILED)

        assert stack.part("healthy").process == before


async def test_a_state_folder_that_is_removed_ends_what_runs_in_it(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("kept", tmp_path)) as stack:
        identity = (await stack.reaches("kept", Phase.READY)).process
        shutil.rmtree(stack.places.home)

        await asyncio.wait_for(stack.keeping, WITHIN_S)

        assert identity is not None
        assert not identity.is_alive()


async def test_a_supervisor_leaves_the_record_of_its_successor_alone(tmp_path: Path) -> None:
    async with running(tmp_path, SmallPart("kept", tmp_path)) as stack:
        await stack.reaches("kept", Phase.READY)
        Board(stack.places, GONE, ("successor",))

        await asyncio.wait_for(stack.keeping, WITHIN_S)

        record = read_status(stack.places)
        assert record is not None
        assert [part.name for part in record.parts] == ["successor"]


def test_a_circle_of_needs_is_refused(tmp_path: Path) -> None:
    hen, egg = SmallPart("hen", tmp_path, needs=("egg",)), SmallPart("egg", tmp_path, needs=("hen",))

    with pytest.raises(ValueError, match="hen, egg"):
        start_order([hen, egg])


def test_only_one_supervisor_runs_in_a_state_folder(tmp_path: Path) -> None:
    places = places_in(tmp_path)

    with only_one(places), pytest.raises(NotOurs, match="runs already"), only_one(places):
        pass


def _orphan(folder: Path, supervisor: Identity, *, started_earlier: int = 0) -> Identity:
    """A process that a supervisor recorded before it was gone."""
    places = places_in(folder)
    part = SmallPart("orphan", folder)
    with places.log_of("orphan").open("ab") as log:
        child = processes.start(part.launch(), log, die_with_parent=True)
    recorded = Identity(child.identity.pid, child.identity.started_ticks - started_earlier)
    board = Board(places, supervisor, ("orphan",))
    board.set("orphan", phase=Phase.READY, process=recorded)
    return child.identity


def test_what_a_dead_supervisor_left_running_is_ended(tmp_path: Path) -> None:
    orphan = _orphan(tmp_path, supervisor=GONE)

    ended = end_orphans(places_in(tmp_path))

    assert ended == ["orphan"]
    assert not orphan.is_alive()


def test_a_process_that_got_a_recorded_id_later_is_left_alone(tmp_path: Path) -> None:
    stranger = _orphan(tmp_path, supervisor=GONE, started_earlier=1)

    ended = end_orphans(places_in(tmp_path))

    assert ended == []
    assert stranger.is_alive()
    stranger.send(signal.SIGKILL)


def test_the_record_on_disk_gives_back_what_was_written(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    board = Board(places, GONE, ("part",))

    board.set("part", phase=Phase.READY, process=Identity(12, 34), address="sign:part", restarts=2)

    record = read_status(places)
    assert record is not None
    assert record.part("part") == board["part"]
