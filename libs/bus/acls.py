"""Who may do what at the broker, as `proto/topics/*.yaml` says it. What is not said here is denied.

READ and WRITE imply DESCRIBE at the broker, and WRITE on a topic lets an idempotent producer write. Nobody but the
operator creates topics. See docs/decisions/0008-who-may-do-what-on-kafka.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from libs.schemas.topics import TopicSpec, dead_letter_spec

OURS: Final = "maestro."  # every consumer group and transactional id of ours begins so


class Resource(IntEnum):
    """What an ACL is about; the numbers are the protocol's."""

    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class Pattern(IntEnum):
    """How an ACL's name is meant; the numbers are the protocol's."""

    ANY = 1
    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What an ACL is for; the numbers are the protocol's."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Permission(IntEnum):
    """Whether an ACL allows or denies; the numbers are the protocol's."""

    ANY = 1
    DENY = 2
    ALLOW = 3


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One ACL of the broker. `host` is `*` or an address that the client must have."""

    user: str
    operation: Operation
    resource: Resource
    name: str
    pattern: Pattern = Pattern.LITERAL
    permission: Permission = Permission.ALLOW
    host: str = "*"

    def __str__(self) -> str:
        star = "*" if self.pattern is Pattern.PREFIXED else ""
        where = "" if self.host == "*" else f" from {self.host}"
        verb = f"{self.permission.name.lower()}s {self.operation.name.lower()}"
        return f"{self.user}: {verb} on {self.resource.name.lower()} {self.name}{star}{where}"


def services_of(specs: Iterable[TopicSpec]) -> frozenset[str]:
    """Return the services that own or consume a topic: each logs in under its name."""
    return frozenset(name for spec in specs for name in (spec.owner, *spec.consumers))


def kind_of(user: str) -> str:
    """Return the kind of a login that is no service: `producer` of `producer.acme`, `collector` of `collector`."""
    return user.partition(".")[0]


def kinds_of(specs: Iterable[TopicSpec]) -> frozenset[str]:
    """Return the kinds of logins, beside the services, that may write to a topic."""
    return frozenset(name for spec in specs for name in spec.producers)


def acls_of(specs: Collection[TopicSpec], users: Collection[str] = ()) -> frozenset[Acl]:
    """Return every ACL that there should be for `specs`, and for those of `users` whose kind writes to one of them."""
    return frozenset(acl for spec in specs for acl in (*_of_services(spec), *_of_producers(spec, users)))


def _of_services(spec: TopicSpec) -> Iterator[Acl]:
    # Whoever writes through an outbox also reads the topic: committing a mark there, as its relay does, takes READ.
    yield from _topic(spec.owner, spec.name, Operation.READ, *([] if spec.producers else [Operation.WRITE]))
    yield from _names(spec.owner)
    for consumer in spec.consumers:
        yield from _topic(consumer, spec.name, Operation.READ)
        yield from _names(consumer)
    if spec.dead_letter:
        yield from _of_those_who_set_aside(dead_letter_spec(spec))


def _of_those_who_set_aside(letters: TopicSpec) -> Iterator[Acl]:
    # Letters leave by the outbox too, so its marks take READ. Their reader is the operator, a super user.
    for service in letters.producers:
        yield from _topic(service, letters.name, Operation.WRITE, Operation.READ)


def _of_producers(spec: TopicSpec, users: Collection[str]) -> Iterator[Acl]:
    for user in users:
        if kind_of(user) in spec.producers:
            yield from _topic(user, spec.name, Operation.WRITE)


def _topic(user: str, name: str, *operations: Operation) -> Iterator[Acl]:
    return (Acl(user, operation, Resource.TOPIC, name) for operation in operations)


def _names(service: str) -> Iterator[Acl]:
    """Its consumer groups, and the names that its relays are fenced by (transactional ids, without transactions)."""
    yield Acl(service, Operation.READ, Resource.GROUP, f"{OURS}{service}.", Pattern.PREFIXED)
    yield Acl(service, Operation.WRITE, Resource.TRANSACTIONAL_ID, f"{OURS}{service}.", Pattern.PREFIXED)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a broker differs from what should be there."""

    missing: frozenset[Acl]
    extra: frozenset[Acl]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra)


def drift(specs: Collection[TopicSpec], found: Collection[Acl], users: Collection[str]) -> Drift:
    """Compare what a broker has with what should be there. ACLs that concern others' logins and topics are let be."""
    wanted = acls_of(specs, users)
    ours = services_of(specs) | {user for user in users if kind_of(user) in kinds_of(specs)}
    topics = {name for spec in specs for name in (spec.name, spec.dead_letter_topic)}
    return Drift(
        missing=wanted - frozenset(found),
        extra=frozenset(acl for acl in found if acl.user in ours or _is_about(acl, topics)) - wanted,
    )


def _is_about(acl: Acl, topics: Collection[str]) -> bool:
    about_a_name = acl.resource in {Resource.GROUP, Resource.TRANSACTIONAL_ID} and acl.name.startswith(OURS)
    return about_a_name or (acl.resource is Resource.TOPIC and acl.name in topics)
