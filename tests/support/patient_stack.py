"""The stack's supervisor for tests that kill its parts: `python -m tests.support.patient_stack HOME`.

The real one gives up on what dies all the time. Here parts die because we kill them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.local.restarts import RestartPolicy
from deploy.local.supervise import main

PROGRAM = "tests.support.patient_stack"
PATIENT = RestartPolicy(first_delay_s=0.1, longest_delay_s=0.5, deaths_before_ready=10_000, deaths_after_ready=10_000)

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), policy=PATIENT))
