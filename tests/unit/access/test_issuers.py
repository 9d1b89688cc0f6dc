"""The operator's file of issuers: what it may say, and what it may not leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.access.oidc.issuers import read_issuers
from libs.access.oidc.trust import tokens_of
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Broken
from libs.runtime.settings import ServiceSettings
from tests.support.access import NOW, directory_of, tenant_id

GOOD: dict[str, Any] = {
    "issuer": "https://id.example.test/",
    "audience": "maestro",
    "algorithms": ["ES256"],
    "jwks_url": "https://id.example.test/jwks",
    "tenant_claim": "tenant",
}


def written(folder: Path, *issuers: dict[str, Any]) -> Path:
    path = folder / "issuers.yaml"
    path.write_text(yaml.safe_dump({"issuers": list(issuers)}))
    return path


def test_the_file_says_whose_tokens_are_taken(tmp_path: Path) -> None:
    found = read_issuers(written(tmp_path, GOOD, GOOD | {"issuer": "https://other.example.test/"}))
    assert list(found) == ["https://id.example.test/", "https://other.example.test/"]
    assert found["https://id.example.test/"].leeway_s == 30


def test_without_a_file_no_tokens_are_taken() -> None:
    assert tokens_of(ServiceSettings(), directory_of(), ManualClock(NOW)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"algorithms": []},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"leeway_s": 121},
        {"leeway_s": -1},
        {"jwks_file": "keys.json"},
        {"jwks_url": None},
        {"tenant_claim": None},
        {"tenant_id": tenant_id(1)},
        {"tenant_id": "acme", "tenant_claim": None},
        {"kind": "edge"},
        {"kind_claim": "role"},
        {"kinds": {"staff": "operator"}},
        {"scopes_of": {"staff": ["everything"]}},
        {"audience": ""},
        {"algoritms": ["ES256"]},
    ],
    ids=str,
)
def test_a_file_that_leaves_something_open_or_misspelt_stops_the_start(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"the file of issuers .* cannot be used"):
        read_issuers(written(tmp_path, GOOD | changed))


def test_an_issuer_that_is_named_twice_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="twice"):
        read_issuers(written(tmp_path, GOOD, GOOD | {"audience": "other"}))


def padded(path: Path, size: int) -> Path:
    """Put a comment before what the file says, so that it has `size` bytes."""
    text = path.read_text()
    path.write_text("#" * (size - len(text) - 1) + "\n" + text)
    return path


def test_a_file_as_long_as_may_be_is_read_to_its_end(tmp_path: Path) -> None:
    assert list(read_issuers(padded(written(tmp_path, GOOD), 262_144))) == [GOOD["issuer"]]


def test_a_file_past_its_bound_stops_the_start_and_is_not_cut(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    path.write_text(path.read_text() + "#" * 262_144)  # cut at the bound, it would be the same file
    with pytest.raises(Broken, match="more than 262144 bytes"):
        read_issuers(path)


def test_an_absent_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="cannot be used"):
        read_issuers(tmp_path / "issuers.yaml")


def test_issuers_without_a_key_for_pseudonyms_stop_the_start(tmp_path: Path) -> None:
    settings = ServiceSettings(issuers_file=written(tmp_path, GOOD))
    with pytest.raises(Broken, match="MAESTRO_ACTOR_KEY_FILE"):
        tokens_of(settings, directory_of(), ManualClock(NOW))


def test_a_key_for_pseudonyms_that_could_be_guessed_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "actor.key").write_text("short\n")
    settings = ServiceSettings(issuers_file=written(tmp_path, GOOD), actor_key_file=tmp_path / "actor.key")
    with pytest.raises(Broken, match="fewer than 32"):
        tokens_of(settings, directory_of(), ManualClock(NOW))
