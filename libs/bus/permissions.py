"""The verbs of `maestro bus` that say who may do what at the broker: provision, acls, add-user, remove-user."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.bus.acls import Drift, kind_of, kinds_of, services_of
from libs.bus.kafka import KafkaAccess, access_of
from libs.bus.kafka.administration import administration
from libs.bus.kafka.provisioning import provision, topics_missing
from libs.bus.operating import BROKERS_KEEPER, BrokersRecord, act_of_operator, announcement, brokers_record
from libs.runtime.errors import Rejected
from libs.runtime.secret_files import password
from libs.runtime.settings import ServiceSettings
from libs.schemas.topics import registry

OK: Final = 0
DRIFTED: Final = 1
MOST_TOLD: Final = 20  # of what a record lists: an event has a bound
_USER: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # also what a record may be about


class UnknownUser(Rejected):
    """Nothing in the topic registry gives such a login any right."""

    code = "unknown_user"
    title = "No topic knows this login"


class NoFolder(Rejected):
    """The password has no place."""

    code = "no_folder"
    title = "The password cannot be kept there"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb shows, and its exit status."""

    lines: tuple[str, ...]
    status: int = OK


def add_verbs(verbs: Any) -> None:  # noqa: ANN401 - argparse keeps the type of its sub-parsers to itself
    """Add the verbs to the parser of `maestro bus`."""
    put_right = verbs.add_parser(
        "provision", help="make the topics that are missing and put the ACLs of proto/topics in force"
    )
    verbs.add_parser("acls", help="show how the broker's ACLs differ from those of proto/topics; exit status 1 if so")
    add = verbs.add_parser(
        "add-user",
        help="make a login for a service, or for a program that a topic names as a producer",
        description="Makes the login or changes its password, and its ACLs. A topic's producers are kinds: a login is "
        "called as the kind is, or <kind>.<anything>.",
    )
    add.add_argument("user")
    add.add_argument(
        "--password-file", type=Path, help="holds the password, or gets one; <state>/secrets/<user>.kafka.password"
    )
    remove = verbs.add_parser("remove-user", help="remove a login and its ACLs; its password file stays")
    remove.add_argument("user")
    for changing in (put_right, add, remove):
        changing.add_argument("--reason", help="kept by evidence")


def keeper_of(verb: str) -> str | None:
    """Return the service whose store keeps the record of what the verb changes, None where it changes nothing."""
    return None if verb == "acls" else BROKERS_KEEPER


async def run_verb(chosen: argparse.Namespace, settings: ServiceSettings) -> Outcome:
    """Run one of them as the operator whose login the settings hold."""
    return await PERMISSION_VERBS[chosen.verb](chosen, settings, access_of(settings))


async def _provision(chosen: argparse.Namespace, settings: ServiceSettings, operator: KafkaAccess) -> Outcome:
    missing = await topics_missing(operator)
    async with administration(operator) as broker:
        found = await broker.drift(registry().values())
    if not missing and not found:
        return Outcome(_applied(found))
    due = {"topics": _listed(missing), "acls_added": _listed(found.missing), "acls_removed": _listed(found.extra)}
    async with _recorded(chosen, settings) as record:
        await record.say("broker.provision_begun", "broker/topics", **due)
        applied = await provision(operator, {})
        await record.say("broker.provisioned", "broker/topics", **due)
    return Outcome((*(f"made     topic {name}" for name in missing), *_applied(applied)))


async def _acls(_chosen: argparse.Namespace, _settings: ServiceSettings, operator: KafkaAccess) -> Outcome:
    async with administration(operator) as broker:
        found = await broker.drift(registry().values())
    lines = (*(f"missing  {acl}" for acl in sorted(found.missing)), *(f"extra    {acl}" for acl in sorted(found.extra)))
    return Outcome(lines, DRIFTED) if found else Outcome(("the ACLs are those of proto/topics",))


async def _add_user(chosen: argparse.Namespace, settings: ServiceSettings, operator: KafkaAccess) -> Outcome:
    _refuse_unknown(chosen.user)
    path = chosen.password_file or settings.state_dir / "secrets" / f"{chosen.user}.kafka.password"
    if not path.parent.is_dir():
        raise NoFolder(f"there is no folder {path.parent} for the password; name another file by --password-file")
    async with _recorded(chosen, settings) as record, administration(operator) as broker:
        await record.say("broker_login.add_begun", f"login/{chosen.user}")
        await broker.set_passwords({chosen.user: password(path)})
        found = await broker.apply_acls(registry().values())
        due = {"acls_added": _listed(found.missing), "acls_removed": _listed(found.extra)}
        await record.say("broker_login.added", f"login/{chosen.user}", **due)
    return Outcome((f"{chosen.user} logs in by SCRAM-SHA-512 with the password in {path}", *_applied(found)))


async def _remove_user(chosen: argparse.Namespace, settings: ServiceSettings, operator: KafkaAccess) -> Outcome:
    _refuse_unknown(chosen.user)
    async with _recorded(chosen, settings) as record, administration(operator) as broker:
        await record.say("broker_login.remove_begun", f"login/{chosen.user}")
        removed = [acl for acl in await broker.acls() if acl.user == chosen.user]
        await broker.change_acls(remove=removed)
        await broker.remove_logins([chosen.user])
        await record.say("broker_login.removed", f"login/{chosen.user}", acls_removed=_listed(removed))
    return Outcome((f"{chosen.user} can no longer log in; connections that it has open may do nothing any more",))


@asynccontextmanager
async def _recorded(chosen: argparse.Namespace, settings: ServiceSettings) -> AsyncIterator[BrokersRecord]:
    act = act_of_operator(settings, chosen.reason)
    sys.stderr.write(f"maestro bus: {announcement(act)}\n")
    async with brokers_record(settings, act) as record:
        yield record


def _listed(found: Collection[object]) -> str:
    names = sorted(map(str, found))
    more = [f"and {len(names) - MOST_TOLD} more"] if len(names) > MOST_TOLD else []
    return "; ".join([*names[:MOST_TOLD], *more]) or "none"


def _refuse_unknown(user: str) -> None:
    specs = registry().values()
    services, kinds = services_of(specs), kinds_of(specs)
    if user not in services and (kind_of(user) not in kinds or not _USER.fullmatch(user)):
        known = ", ".join([*sorted(services), *(f"{kind}[.<name>]" for kind in sorted(kinds))])
        raise UnknownUser(f"{user!r} is none of: {known}. proto/topics/*.yaml names owners, consumers and producers")


def _applied(found: Drift) -> tuple[str, ...]:
    lines = [*(f"added    {acl}" for acl in sorted(found.missing)), *(f"removed  {acl}" for acl in sorted(found.extra))]
    return tuple(lines) or ("the ACLs were those of proto/topics already",)


Verb = Callable[[argparse.Namespace, ServiceSettings, KafkaAccess], Awaitable[Outcome]]
PERMISSION_VERBS: Final[Mapping[str, Verb]] = {
    "provision": _provision,
    "acls": _acls,
    "add-user": _add_user,
    "remove-user": _remove_user,
}
