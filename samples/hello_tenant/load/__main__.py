"""`python -m samples.hello_tenant.load PLAN RESULT`: run the plan, write what was counted.

Standard output carries the progress, one JSON object a line. Exit 0 once the result is written, whatever was counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from samples.hello_tenant.load.caller import Caller, http_client
from samples.hello_tenant.load.phases import Phases
from samples.hello_tenant.load.plan import Plan
from samples.hello_tenant.load.tally import Tally

TELL_EVERY_S = 0.2


class Teller:
    """Prints progress, seldom enough that it costs nothing; the end of a phase always."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Print one line, unless one was printed just now."""
        now = time.monotonic()
        if done < total and now - self._told_at < TELL_EVERY_S:
            return
        self._told_at = now
        print(json.dumps({"phase": phase, "done": done, "total": total}), flush=True)


async def run(plan: Plan) -> dict[str, object]:
    """Run all phases; return the result document."""
    started = time.monotonic()
    async with http_client(plan.gateway_url) as client:
        tally = Tally()
        phases = Phases(plan, Caller(client, tally), Teller())
        first_accepted_at = await phases.first_event()
        await phases.steady()
        refusals = [one for tenant in plan.tenants if tenant.storm_calls for one in await phases.storm(tenant)]
    return {
        "counts": tally.counts(),
        "calls": tally.calls,
        "retries": tally.retries,
        "failed": tally.failed,
        "failures": tally.failures,
        "first_accepted_at": first_accepted_at,
        "refusals": [asdict(refusal) for refusal in refusals],
        "elapsed_s": round(time.monotonic() - started, 3),
    }


def main(argv: list[str]) -> int:
    """Read the plan, run it, write the result."""
    plan_path, result_path = (Path(argument) for argument in argv)
    result = asyncio.run(run(Plan.read(plan_path)))
    result_path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
