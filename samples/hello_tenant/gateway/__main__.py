"""`python -m samples.hello_tenant.gateway --help`: serve the demo gateway until SIGTERM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvicorn

from samples.hello_tenant.gateway.app import Settings, create_app

IDLE_S: Final = 75  # longer than its clients keep an idle connection, so that none is closed under a request


def settings_of(arguments: Sequence[str] | None) -> Settings:
    """Return the settings on the command line."""
    parser = argparse.ArgumentParser(prog="hello-gateway", description="The demo gateway of Hello-Tenant.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--metering-url", required=True, help="where spans and usage events go")
    parser.add_argument("--quota-url", required=True, help="where quotas are asked")
    parser.add_argument("--key-file", type=Path, required=True, help="holds the gateway's API key")
    return Settings(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve."""
    settings = settings_of(arguments)
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, access_log=False, timeout_keep_alive=IDLE_S
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
