"""What a database error asks for: try again, or set the record aside. Everything else is ours to mend.

Source: PostgreSQL, appendix A (error codes).
"""

from __future__ import annotations

from typing import Final

import asyncpg

from libs.runtime.errors import Unavailable

# Whole classes: 08 lost connection, 53 out of resources, 57P shutdown, crash or start-up.
_TRANSIENT_PREFIXES: Final = ("08", "53", "57P")
_TRANSIENT_STATES: Final = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock: one of the two had to go
        "55P03",  # our own lock_timeout: whoever holds the row may be gone soon
        "57014",  # our own statement_timeout
        "25P03",  # our own idle_in_transaction_session_timeout
    }
)
# 22 data exception (NUL in text, overflow, bad JSON), 23 constraint violation: the same record fails the same way.
_POISON_PREFIXES: Final = ("22", "23")


def is_transient(error: BaseException) -> bool:
    """Return whether the same work may succeed later: the store, the network or a rival stood in the way."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_PREFIXES)
    return isinstance(error, Unavailable | OSError | TimeoutError)


def is_poison(error: BaseException) -> bool:
    """Return whether the values themselves were refused (SQLSTATE classes 22 and 23), by the server or by the driver.

    asyncpg raises DataError for what it cannot encode. It has two classes of that name: the one it exports carries
    SQLSTATE 22000, the other is an InterfaceError.
    """
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_POISON_PREFIXES)
    return isinstance(error, asyncpg.InterfaceError) and type(error).__name__ == "DataError"


def poison_reason(error: asyncpg.PostgresError) -> str:
    """Return the word under which values that were refused with `error` are counted: its SQLSTATE, one of few."""
    return f"sqlstate_{error.sqlstate}"
