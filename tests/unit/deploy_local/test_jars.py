"""Java sees only jars whose digest is the committed one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploy.local.errors import PartFailed
from deploy.local.kafka.jars import LOCK, Jar, fetch, locked_jars, wrong_jars

RIGHT = b"the locked bytes"
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(RIGHT).hexdigest())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository of this machine that holds the right jar."""
    jar = JAR.under(tmp_path / "m2")
    jar.parent.mkdir(parents=True)
    jar.write_bytes(RIGHT)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    return tmp_path / "m2"


def _arrives_changed(_jar: Jar, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrived = folder / "arrived.jar"
    arrived.write_bytes(b"other bytes")
    return arrived


def test_the_lock_file_names_kafka_4_3_0_with_a_digest_for_every_jar() -> None:
    jars = locked_jars()

    assert Jar("org.apache.kafka", "kafka_2.13", "4.3.0", jars[0].sha256) == jars[0]
    assert {len(jar.sha256) for jar in jars} == {64}


def test_the_lock_file_holds_no_address() -> None:
    assert "://" not in LOCK.read_text()


def test_no_two_locked_jars_share_a_file_name() -> None:
    names = [jar.file_name for jar in locked_jars()]

    assert len(names) == len(set(names))


@pytest.mark.usefixtures("repository")
def test_a_jar_of_this_machine_with_the_right_digest_is_used(tmp_path: Path) -> None:
    fetch(tmp_path / "jars", (JAR,), download=_arrives_changed)

    assert wrong_jars(tmp_path / "jars", (JAR,)) == []


@pytest.mark.usefixtures("repository")
def test_a_jar_that_was_changed_is_found(tmp_path: Path) -> None:
    fetch(tmp_path / "jars", (JAR,), download=_arrives_changed)
    (tmp_path / "jars" / JAR.file_name).write_bytes(b"changed since")

    assert wrong_jars(tmp_path / "jars", (JAR,)) == [JAR]


@pytest.mark.usefixtures("repository")
def test_a_jar_that_was_changed_is_replaced(tmp_path: Path) -> None:
    fetch(tmp_path / "jars", (JAR,), download=_arrives_changed)
    (tmp_path / "jars" / JAR.file_name).write_bytes(b"changed since")

    fetch(tmp_path / "jars", (JAR,), download=_arrives_changed)

    assert (tmp_path / "jars" / JAR.file_name).read_bytes() == RIGHT


def test_a_jar_that_arrives_with_other_bytes_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "nothing"))

    with pytest.raises(PartFailed, match=r"thing-1\.0\.jar arrived with SHA-256"):
        fetch(tmp_path / "jars", (JAR,), download=_arrives_changed)

    assert not (tmp_path / "jars" / JAR.file_name).exists()


@pytest.mark.usefixtures("repository")
def test_progress_is_told_after_each_jar(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    fetch(tmp_path / "jars", (JAR,), lambda done, total: told.append((done, total)))

    assert told == [(1, 1)]


def test_an_entry_without_a_digest_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.toml"
    lock.write_text('[[dependencies]]\ngroupId = "g"\nartifactId = "bare"\nversion = "1"\n')

    with pytest.raises(PartFailed, match="no digest for bare"):
        locked_jars(lock)
