"""Importing a module of ours connects nowhere, starts nothing, writes nothing: wiring is done in app.py, when asked."""

from __future__ import annotations

import subprocess
import sys

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
    importlib.import_module(name)
print("imported", len(sys.argv) - 1)
"""


def test_importing_every_module_connects_nowhere_and_writes_nothing() -> None:
    names = [
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules()
        if path.name != "__main__.py" and "sdk_python" not in path.parts
    ]
    run = subprocess.run([sys.executable, "-c", PROGRAM, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout == f"imported {len(names)}\n"
