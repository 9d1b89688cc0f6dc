"""Where the running stack is, as the demo needs it: addresses, the operator's key, the public key of the signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.places import Places
from deploy.local.status import StackStatus

TRUSTED_KEY = Path("trust") / "evidence.pub.pem"


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the services are, the operator's key and the key that signatures are checked against."""

    identity: str
    metering: str
    quota: str
    invoicing: str
    evidence: str
    operator_key: str = field(repr=False)
    trusted_key: Path
    home: Path


def stack_of(places: Places, status: StackStatus) -> Stack:
    """Return the stack of which `status` is the record."""
    address = {part.name: part.address for part in status.parts}
    return Stack(
        identity=address["identity"],
        metering=address["metering"],
        quota=address["quota"],
        invoicing=address["invoicing"],
        evidence=address["evidence"],
        operator_key=places.operator_key.read_text(encoding="utf-8").strip(),
        trusted_key=places.home / TRUSTED_KEY,
        home=places.home,
    )
