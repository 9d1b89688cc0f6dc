"""Ports are free when they are chosen, remembered, and chosen anew where somebody took them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.ports import HOST, Ports, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_chosen_port_is_free(tmp_path: Path) -> None:
    assert is_free(Ports(tmp_path / "ports.json").port("part"))


def test_a_port_is_remembered_by_the_next_run(tmp_path: Path) -> None:
    first = Ports(tmp_path / "ports.json").port("part")

    assert Ports(tmp_path / "ports.json").free_port("part") == first


def test_two_parts_never_share_a_port(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")

    assert len({ports.port(name) for name in ("one", "two", "three", "four")}) == 4


def test_a_wanted_port_is_given_where_it_is_free(tmp_path: Path) -> None:
    wanted = Ports(tmp_path / "other.json").port("probe")

    assert Ports(tmp_path / "ports.json").free_port("part", wanted) == wanted


def test_another_port_is_chosen_where_the_wanted_one_is_taken(tmp_path: Path, taken: int) -> None:
    chosen = Ports(tmp_path / "ports.json").free_port("part", wanted=taken)

    assert chosen != taken
    assert is_free(chosen)


def test_another_port_is_chosen_where_the_remembered_one_was_taken(tmp_path: Path, taken: int) -> None:
    (tmp_path / "ports.json").write_text(f'{{"part": {taken}}}')

    assert Ports(tmp_path / "ports.json").free_port("part") != taken


def test_a_wanted_port_that_another_part_has_is_not_given_twice(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    first = ports.port("first")

    assert ports.free_port("second", wanted=first) != first
