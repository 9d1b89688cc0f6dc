"""What a customer installs stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "libs" / "sdk_python" / "src"

PROGRAM = """
import sys
sys.modules["opentelemetry"] = None
sys.path.insert(0, sys.argv[1])
import maestro_sdk
from maestro_sdk.spans import mark_degraded, name_tenant
name_tenant("tnt_x"), mark_degraded()
tops = {name.partition(".")[0] for name in sys.modules}
print(sorted(tops & {"libs", "services", "deploy", "pydantic", "fastapi", "starlette", "aiokafka"}))
"""


def test_the_sdk_needs_nothing_of_this_repository_and_works_without_opentelemetry() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SOURCE)], capture_output=True, text=True, check=False, cwd="/"
    )

    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
