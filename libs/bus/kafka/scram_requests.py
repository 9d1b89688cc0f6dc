"""The requests that list and change SCRAM logins; aiokafka has none of them.

Source: Kafka protocol guide (DescribeUserScramCredentials and AlterUserScramCredentials, version 0), KIP-554.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from libs.signing.scram import Salted

SCRAM_SHA_512: Final = 2  # the protocol's number of the mechanism


class DescribeUserScramCredentialsResponse_v0(Response):  # noqa: N801 - named as aiokafka names its wire structs
    """Every login that has a password, with the mechanisms of it; no secret."""

    API_KEY = 50
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", CompactString()),
        (
            "results",
            CompactArray(
                ("user", CompactString()),
                ("error_code", Int16),
                ("error_message", CompactString()),
                (
                    "credential_infos",
                    CompactArray(("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeUserScramCredentialsRequest_v0(RequestStruct):  # noqa: N801 - named as aiokafka names its wire structs
    """Asks for logins; for all of them where `users` is empty."""

    FLEXIBLE_VERSION = True
    API_KEY = 50
    API_VERSION = 0
    RESPONSE_TYPE = DescribeUserScramCredentialsResponse_v0
    SCHEMA = Schema(
        ("users", CompactArray(("name", CompactString()), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class LoginsRequest(Request[DescribeUserScramCredentialsRequest_v0]):
    """Asks for all logins."""

    API_KEY = 50

    def build(
        self, request_struct_class: type[DescribeUserScramCredentialsRequest_v0]
    ) -> DescribeUserScramCredentialsRequest_v0:
        """Return the wire struct. No names mean all. Null does too, but where it denies that Kafka 4.3 is silent."""
        return request_struct_class([], {})


class AlterUserScramCredentialsResponse_v0(Response):  # noqa: N801 - named as aiokafka names its wire structs
    """For each login whether it was changed."""

    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString()),
                ("error_code", Int16),
                ("error_message", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUserScramCredentialsRequest_v0(RequestStruct):  # noqa: N801 - named as aiokafka names its wire structs
    """Removes logins, and makes or changes others. Never shown: aiokafka would log it where DEBUG is asked for."""

    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = AlterUserScramCredentialsResponse_v0
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString()), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString()),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )

    def __repr__(self) -> str:
        return "AlterUserScramCredentialsRequest_v0(...)"


class ChangeLoginsRequest(Request[AlterUserScramCredentialsRequest_v0]):
    """Sets the passwords of some logins and removes others."""

    API_KEY = 51

    def __init__(self, passwords: Mapping[str, Salted], removed: Sequence[str] = ()) -> None:
        """Take the salted passwords by login, and the logins to remove."""
        self._passwords = passwords
        self._removed = removed

    def build(
        self, request_struct_class: type[AlterUserScramCredentialsRequest_v0]
    ) -> AlterUserScramCredentialsRequest_v0:
        """Return the wire struct."""
        upsertions: list[tuple[object, ...]] = [
            (user, SCRAM_SHA_512, one.iterations, one.salt, one.salted_password, {})
            for user, one in self._passwords.items()
        ]
        return request_struct_class([(user, SCRAM_SHA_512, {}) for user in self._removed], upsertions, {})
