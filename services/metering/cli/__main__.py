"""Run `maestro usage` by itself: `python -m services.metering.cli`."""

from __future__ import annotations

import sys

from services.metering.cli import main

if __name__ == "__main__":
    sys.exit(main())
