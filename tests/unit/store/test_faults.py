from __future__ import annotations

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as ClientDataError

from libs.runtime.errors import Rejected, Unavailable
from libs.store.faults import is_poison, is_transient


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.SerializationError("40001"),
        asyncpg.DeadlockDetectedError("40P01"),
        asyncpg.LockNotAvailableError("55P03"),
        asyncpg.QueryCanceledError("57014"),
        asyncpg.AdminShutdownError("57P01"),
        asyncpg.CrashShutdownError("57P02"),
        asyncpg.CannotConnectNowError("57P03"),
        asyncpg.ConnectionDoesNotExistError("08003"),
        asyncpg.TooManyConnectionsError("53300"),
        asyncpg.IdleInTransactionSessionTimeoutError("25P03"),
        ConnectionResetError(),
        TimeoutError(),
        Unavailable("later"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_by_itself_is_tried_again(error: Exception) -> None:
    assert is_transient(error)
    assert not is_poison(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CharacterNotInRepertoireError("22021"),
        asyncpg.NumericValueOutOfRangeError("22003"),
        asyncpg.UniqueViolationError("23505"),
        asyncpg.CheckViolationError("23514"),
        asyncpg.DataError("what the driver could not encode"),
        ClientDataError("value out of int64 range"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_values_that_the_store_refuses_are_poison(error: Exception) -> None:
    assert is_poison(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedTableError("42P01"), asyncpg.InterfaceError("misused"), Rejected("no"), KeyError("k")]
)
def test_what_is_ours_to_mend_is_neither(error: Exception) -> None:
    assert not is_transient(error)
    assert not is_poison(error)
