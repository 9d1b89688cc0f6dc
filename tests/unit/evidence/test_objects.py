"""Files named by their content."""

import stat
from pathlib import Path

import pytest

from libs.runtime.errors import NotFound
from libs.signing.digests import sha256_hex
from services.evidence.errors import ObjectCorrupted
from services.evidence.store.objects import ObjectStore

CONTENT = b"kept"
DIGEST = sha256_hex(CONTENT)


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_got_by_its_digest(objects: ObjectStore) -> None:
    assert objects.put(CONTENT) == DIGEST
    assert objects.get(DIGEST) == CONTENT


def test_putting_again_writes_the_same_file_and_leaves_no_other(objects: ObjectStore, tmp_path: Path) -> None:
    objects.put(CONTENT)
    before = objects.path_of(DIGEST).stat().st_ino

    objects.put(CONTENT)

    assert objects.path_of(DIGEST).stat().st_ino == before
    assert files_below(tmp_path) == [objects.path_of(DIGEST)]


def test_a_kept_file_is_read_only(objects: ObjectStore) -> None:
    objects.put(CONTENT)

    assert stat.S_IMODE(objects.path_of(DIGEST).stat().st_mode) == 0o444


def test_what_was_never_put_is_not_found(objects: ObjectStore) -> None:
    with pytest.raises(NotFound, match=DIGEST):
        objects.get(DIGEST)


def test_a_damaged_file_is_never_given_out(objects: ObjectStore) -> None:
    objects.put(CONTENT)
    damage(objects.path_of(DIGEST))

    with pytest.raises(ObjectCorrupted, match="was damaged"):
        objects.get(DIGEST)


def test_putting_mends_a_damaged_file(objects: ObjectStore) -> None:
    objects.put(CONTENT)
    damage(objects.path_of(DIGEST))

    objects.put(CONTENT)

    assert objects.get(DIGEST) == CONTENT


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"rot")
