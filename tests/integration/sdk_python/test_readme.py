"""The README's programs run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.sdk import TENANT, admitted
from tests.support.upstream import Answer, serving

SDK = Path(__file__).resolve().parents[3] / "libs" / "sdk_python"
PROTECT, REPORT = re.findall(r"^```python\n(.*?)^```", (SDK / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)


async def test_the_application_of_the_readme_greets_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    told = admitted()
    with serving() as quota:
        quota.standing["/v1/check"] = Answer(200, told.content, {"ratelimit": told.headers["ratelimit"]})
        monkeypatch.setenv("QUOTA_URL", quota.url)
        monkeypatch.setenv("EDGE_KEY", "edge-key")
        program: dict[str, object] = {"__name__": "app"}
        exec(compile(PROTECT, "README.md", "exec", dont_inherit=True), program)  # noqa: S102 - our own text

        transport = httpx.ASGITransport(program["app"])  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as caller:
            answer = await caller.get("/hello", headers={"authorization": "Bearer caller-key"})

    assert answer.json() == {"hello": TENANT}
    assert answer.headers["ratelimit"] == '"qps";r=12;t=1'
    assert quota.seen[0].authorization == "Bearer edge-key"


def test_the_program_of_the_readme_reports_what_was_used() -> None:
    with serving() as metering:
        metering.standing["/api/v1/events"] = Answer(204)
        told = {"METERING_URL": metering.url, "EDGE_KEY": "edge-key", "TENANT": TENANT, "PYTHONPATH": str(SDK / "src")}
        run = subprocess.run(
            [sys.executable, "-c", REPORT], env=os.environ | told, capture_output=True, text=True, check=False
        )

    assert run.stdout == "UsageCounts(accepted=1, rejected=0, dropped=0, pending=0)\n", run.stderr
    assert metering.events()[0]["data"] == {"maestro.ingest.events": 120}
