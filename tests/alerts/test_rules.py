"""The alerts fire when they should, by Prometheus's own tool, and a real Prometheus finds all that they ask for."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from deploy.local.services import SERVICES
from tests.support.alerts import FOLDER, alerts
from tests.support.otlp_grpc import EXPORT
from tests.support.whole_stack import WholeStack

WITHIN_S = 90.0  # a sample of every service, a scrape, and an evaluation, on a loaded machine


def run(promtool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)


def test_the_configuration_is_one_that_prometheus_takes(promtool: Path) -> None:
    checked = run(promtool, "check", "config", "prometheus.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_none_on_a_healthy_system(promtool: Path) -> None:
    tested = run(promtool, "test", "rules", "rules_test.yaml", "rules_test_days.yaml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


@contextmanager
def scraping(prometheus: Path, stack: WholeStack, folder: Path) -> Iterator[httpx.Client]:
    """Run Prometheus on the shipped configuration with the stack's own ports, and give a client of its API."""
    shutil.copytree(FOLDER, folder / "prometheus")
    targets = [
        {"targets": [stack.part(one.name).address.removeprefix("http://")], "labels": {"service": one.name}}
        for one in SERVICES
    ]
    (folder / "prometheus" / "targets" / "local.yaml").write_text(yaml.safe_dump(targets))
    config = folder / "prometheus" / "prometheus.yaml"
    config.write_text(config.read_text().replace("15s", "1s"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([prometheus, *options], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def ask(client: httpx.Client, path: str, **query: str) -> Any:
    """What Prometheus answers, None while it does not yet."""
    try:
        answer = client.get(path, params=query)
    except httpx.TransportError:
        return None
    return json.loads(answer.text).get("data") if answer.status_code == 200 else None


def wait_for(holds: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline_s = time.monotonic() + WITHIN_S
    while not (found := holds()):
        assert time.monotonic() < deadline_s, f"not so within {WITHIN_S:g} s: {what()}"
        time.sleep(0.2)
    return found


def call_without_a_key(stack: WholeStack) -> grpc.StatusCode:
    """How a call over gRPC ends that names no key."""
    with grpc.insecure_channel(stack.part("metering").also_at.rpartition(" ")[2]) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        return export.future(b"", timeout=30.0, wait_for_ready=True).code()


@pytest.mark.timeout(600)
def test_a_real_prometheus_scrapes_every_service_and_finds_every_metric_that_an_alert_asks_for(
    prometheus: Path, stack: WholeStack, tmp_path: Path
) -> None:
    denied = httpx.get(f"{stack.addresses.quota}/v1/plans", trust_env=False)  # without a key: counted
    code = call_without_a_key(stack)
    wanted = set().union(*(alert.metrics() for alert in alerts()))

    with scraping(prometheus, stack, tmp_path) as client:

        def ups() -> list[str]:
            found = ask(client, "query", query="up == 1") or {"result": []}
            return sorted(one["metric"]["service"] for one in found["result"])

        def missing() -> set[str]:
            return wanted - set(ask(client, "label/__name__/values") or ())

        wait_for(lambda: ups() == sorted(one.name for one in SERVICES), lambda: f"all targets are up, not only {ups()}")
        wait_for(lambda: not missing(), lambda: f"every metric is there but {missing()}")
        rules = wait_for(lambda: ask(client, "rules"), lambda: "the rules are evaluated")
        labels = set(ask(client, "labels"))

    assert (denied.status_code, code) == (401, grpc.StatusCode.UNAUTHENTICATED)
    assert {rule["name"] for group in rules["groups"] for rule in group["rules"]} == {one.name for one in alerts()}
    assert all(rule["health"] != "err" for group in rules["groups"] for rule in group["rules"])
    assert not {label for label in labels if "tenant" in label or "key_id" in label}
