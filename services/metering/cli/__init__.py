"""`maestro usage`: what an operator asks of usage, and does to it. Each verb is a module."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from libs.runtime.errors import MaestroError
from libs.runtime.printable import printable
from services.metering.cli import correct, events, explain, recompute
from services.metering.cli.verbs import SettingsOf, from_environment

FAILED: Final = 2


def main(arguments: Sequence[str] | None = None, settings_of: SettingsOf = from_environment) -> int:
    """Run one verb; `settings_of(service)` leads to its store, and to the broker with the operator's login."""
    parser = argparse.ArgumentParser(
        prog="maestro usage", description="Usage, from the raw events, and its corrections."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in (recompute, correct, events, explain):
        verb.add_to(verbs.add_parser)
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.run(chosen, settings_of("metering"))
    except MaestroError as error:
        print(printable(f"maestro usage: {error.title}: {error.detail}"), file=sys.stderr)
        return FAILED
    return code
