"""Importing a module of ours connects nowhere, starts nothing, writes nothing: wiring is done in app.py, when asked.

Neither does making a service's application, or its documents: a lifespan opens, nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from deploy.local.services import SERVICES
from tests.architecture.tree import ROOT, modules, name_of

PROGRAM = """
import importlib, sys
FORBIDDEN = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.mkdir", "os.remove", "os.rename"}
def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in FORBIDDEN or writes:
        raise RuntimeError(f"{event} {arguments!r}")
sys.dont_write_bytecode = True
sys.addaudithook(refuse)
for name in sys.argv[1:]:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    if function:
        getattr(found, function)()
print("imported", len(sys.argv) - 1)
"""


SDK = ROOT / "libs" / "sdk_python" / "src"
FURTHER = ("deploy", "samples")  # beside services and libs


def run(*names: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Import the modules, and call the functions named behind a colon, in a process that may open nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path or ROOT), str(SDK)])}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def importable(paths: Iterable[Path]) -> list[str]:
    """The names of modules, those of the SDK as its users import them; `__main__` is imported, not run."""
    written = (name_of(path).removeprefix(f"{name_of(SDK)}/") for path in paths)
    return [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in written]


def test_importing_every_module_connects_nowhere_and_writes_nothing() -> None:
    further = [path for top in FURTHER for path in sorted((ROOT / top).rglob("*.py"))]
    names = importable([*modules(), *further])
    assert {"maestro_sdk.client", "deploy.local.supervise", "samples.hello_tenant.load.__main__"} <= set(names)
    assert {f"services.{service.name}.__main__" for service in SERVICES} <= set(names)
    done = run(*names)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"imported {len(names)}\n"


def test_making_every_application_and_its_documents_opens_nothing() -> None:
    done = run("deploy.contracts.documents:documents")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "line",
    [
        "import socket; socket.create_server(('127.0.0.1', 0))",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "open('written', 'w')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.mkdir('made')",
    ],
)
def test_a_module_that_opens_something_would_be_noticed(line: str, tmp_path: Path) -> None:
    (tmp_path / "opening.py").write_text(line)
    done = run("opening", path=tmp_path)
    assert done.returncode != 0
    assert "RuntimeError" in done.stderr
