"""`python -m deploy.contracts write`: what the code promises, as files. `make contracts` calls it."""

from __future__ import annotations

import sys

from deploy.contracts.documents import write


def main() -> None:
    """Write the generated files and say which changed."""
    for path in write():
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
