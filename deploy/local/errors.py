"""What can go wrong while the stack is prepared, started or stopped.

StackError
├── Missing       a prerequisite is absent; `fix` is the command or the step that supplies it
├── PartFailed    a part could not be prepared or brought to readiness
└── NotOurs       a folder or process exists but is not one that this stack made
"""

from __future__ import annotations


class StackError(Exception):
    """Something that the person at the terminal can act on.

    Args:
        message: what happened, in one sentence.
        fix: one command or step to try next.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class Missing(StackError):
    """A prerequisite is absent."""


class PartFailed(StackError):
    """A part of the stack could not be prepared, started or brought to readiness."""


class NotOurs(StackError):
    """A folder or a process is in the way that this stack did not make and therefore does not touch."""
