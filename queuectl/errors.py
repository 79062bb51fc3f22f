"""The few ways in which queuectl says no, each with its exit code (contract §3).

A message says what and which; the hint says what now. Both end without a full stop.
"""

from __future__ import annotations


class QueueError(Exception):
    """It could not be done: database, disk, permission."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """One line: what, and what now."""
        return f"{self.message}. {self.hint}" if self.hint else self.message


class UsageError(QueueError):
    """The call itself is wrong; nothing was stored."""

    exit_code = 2
    code = "usage"


class NotFound(QueueError):
    """What was named does not exist."""

    exit_code = 3
    code = "not_found"


class Conflict(QueueError):
    """It exists, and its state or its name forbids this; it is unchanged."""

    exit_code = 5
    code = "conflict"


class Busy(QueueError):
    """Somebody holds the write lock for too long."""

    code = "busy"


class Full(QueueError):
    """The disk is full."""

    code = "full"


class Gone(QueueError):
    """The database file that we opened is no longer the one at its path."""

    code = "gone"


class Refused(QueueError):
    """A file is not ours, or not safe, and was left untouched."""

    code = "refused"


class Damaged(Refused):
    """A file is no sound database; whether it ever was one of ours cannot be told."""
