"""Secrets are random, stay the same, and lie in files that only their owner reads."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path

from deploy.local.credentials import new_key, operator_key, password, write_private

KEY_FORM = re.compile(r"mst_local_[a-z2-7]{16}_[A-Za-z0-9_-]{43}")


def test_a_password_is_made_once(tmp_path: Path) -> None:
    assert password(tmp_path / "secret") == password(tmp_path / "secret")


def test_two_passwords_differ(tmp_path: Path) -> None:
    assert password(tmp_path / "one") != password(tmp_path / "two")


def test_only_the_owner_reads_a_secret(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "text")

    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_key_has_the_form_that_the_edges_expect() -> None:
    key_id, key = new_key("local")

    assert KEY_FORM.fullmatch(key)
    assert key.split("_", 3)[2] == key_id


def test_the_digest_file_holds_the_digest_of_the_whole_key_and_not_the_key(tmp_path: Path) -> None:
    key = operator_key(tmp_path / "operator.key", tmp_path / "digest.json")

    known = json.loads((tmp_path / "digest.json").read_text())

    assert known == {"key_id": key.split("_", 3)[2], "digest": hashlib.sha256(key.encode()).hexdigest()}


def test_the_operators_key_survives_a_restart(tmp_path: Path) -> None:
    first = operator_key(tmp_path / "operator.key", tmp_path / "digest.json")

    assert operator_key(tmp_path / "operator.key", tmp_path / "digest.json") == first
    assert (tmp_path / "operator.key").read_text() == first + "\n"
