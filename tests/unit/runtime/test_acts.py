"""Who acts, and why: what a record of a change may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.actors import Pseudonyms, own_login
from libs.runtime.acts import MAX_REASON_CHARS, BadReason, reason_of
from libs.runtime.errors import Broken

KEY, OTHER_KEY = "k" * 32, "o" * 32


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        (" ticket 4711 ", "ticket 4711"),
        ("Kündigung".encode().decode("latin-1"), "Kündigung"),
        ("Kündigung", "Kündigung"),  # Latin-1 as such
        ("r" * MAX_REASON_CHARS, "r" * MAX_REASON_CHARS),
    ],
)
def test_a_reason_is_kept_as_it_was_meant(header: str | None, reason: str | None) -> None:
    assert reason_of(header) == reason


@pytest.mark.parametrize("char", list("\x1b\x00\t\x7f\x85\u202e\u2066\u200b\u2028\ufeff"), ids=ascii)
def test_a_reason_that_could_show_as_something_else_is_refused(char: str) -> None:
    with pytest.raises(BadReason):
        reason_of(f"a{char}b".encode().decode("latin-1"))


def test_a_reason_has_a_bound() -> None:
    with pytest.raises(BadReason, match="200"):
        reason_of("r" * (MAX_REASON_CHARS + 1))


@given(st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace").decode("latin-1")))
def test_whatever_is_kept_can_be_shown_as_it_is(header: str) -> None:
    try:
        reason = reason_of(header)
    except BadReason:
        return
    assert reason is None or (reason.isprintable() and 0 < len(reason) <= MAX_REASON_CHARS)


def test_a_person_has_one_name_under_one_key_and_another_under_another() -> None:
    name = Pseudonyms(KEY).of("https://id.example.test/", "anna")
    assert name == Pseudonyms(KEY).of("https://id.example.test/", "anna")
    assert name != Pseudonyms(OTHER_KEY).of("https://id.example.test/", "anna")


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), unique=True, min_size=2, max_size=20))
def test_no_two_people_share_a_name_however_issuer_and_subject_meet(people: list[tuple[str, str]]) -> None:
    names = Pseudonyms(KEY)
    assert len({names.of(*person) for person in people}) == len(people)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(Broken):
        Pseudonyms("k" * 31)


def test_a_login_has_a_name_of_its_own_that_gives_it_away_to_nobody_without_the_key() -> None:
    name = Pseudonyms(KEY).of_login("ada")
    assert name == Pseudonyms(KEY).of_login("ada")
    assert name.startswith("os_")
    assert "ada" not in name
    assert len({name, Pseudonyms(OTHER_KEY).of_login("ada"), Pseudonyms(KEY).of_login("bob")}) == 3


def test_who_is_logged_in_is_not_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_login()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert own_login() == before != "somebody-else"
