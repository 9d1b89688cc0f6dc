"""Where the running stack is, as the demo needs it: addresses, the operator's key, the public key of the signatures."""

from __future__ import annotations

from pathlib import Path

from deploy.local.places import Places
from deploy.local.status import StackStatus
from samples.hello_tenant.maestro_http import Stack

TRUSTED_KEY = Path("trust") / "evidence.pub.pem"


def stack_of(places: Places, status: StackStatus) -> Stack:
    """Return the stack of which `status` is the record."""
    address = {part.name: part.address for part in status.parts}
    return Stack(
        identity=address["identity"],
        metering=address["metering"],
        quota=address["quota"],
        invoicing=address["invoicing"],
        evidence=address["evidence"],
        kafka_bootstrap=address["kafka"],
        operator_key=places.operator_key.read_text(encoding="utf-8").strip(),
        trusted_key=places.home / TRUSTED_KEY,
        home=places.home,
    )
