"""Step 5, the proof: a copy of each invoice is checked with no network to ask, then one byte is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from rich.text import Text

from samples.hello_tenant import offline
from samples.hello_tenant.steps import Invoice, Scene

Hold = Callable[[bool, str], None]
"""Told whether something holds, and in words what."""


def prove(hold: Hold, scene: Scene, invoices: Sequence[Invoice]) -> None:
    """Verify a copy of every invoice, then flip a byte in one copy and see that it fails and names the file."""
    screen, copies = scene.screen, scene.folder / "copies"
    key = copies / "evidence.pub.pem"
    copies.mkdir(exist_ok=True)
    shutil.copyfile(scene.stack.trusted_key, key)
    isolation = offline.find_isolation()
    screen.line(f"maestro verify runs in {isolation.words}")
    for invoice in invoices:
        copy = offline.copy_of(invoice.folder, copies / invoice.tenant.tenant_id)
        verdict = offline.verify(copy, key, isolation)
        hold(verdict.is_verified, f"the files of {invoice.number} are as they were signed")
    spoilt = copies / invoices[0].tenant.tenant_id
    position = offline.flip_one_byte(spoilt / offline.FLIPPED)
    verdict = offline.verify(spoilt, key, isolation)
    screen.panel(f"maestro verify, after byte {position} of {offline.FLIPPED} was changed", Text(verdict.text))
    is_named = offline.FLIPPED in verdict.text.splitlines()[-1]
    hold(not verdict.is_verified and is_named, f"one changed byte fails, and the verdict names {offline.FLIPPED}")
