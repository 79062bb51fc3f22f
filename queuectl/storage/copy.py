"""A consistent copy of the file while everybody goes on writing."""

from __future__ import annotations

import os
import sqlite3

from queuectl.errors import Conflict, QueueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PAGES = 1024  # copied between two tellings of the progress


def copy(db: sqlite3.Connection, target: str, progress: Callable[[float], None]) -> int:
    """Copy what the caller's read transaction sees to a new private file; give its bytes.

    Within that transaction the copy is not disturbed by writers; without it, SQLite would start
    over at each of their commits. `progress` is told the part that is done, 0 to 1. Raises
    Conflict where the target exists, QueueError where it cannot be written.
    """
    draft = f"{target}.{os.getpid()}.part"
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise QueueError(f"cannot write {draft}: {error.strerror}") from None
    try:
        _fill(db, draft, progress)
        os.link(draft, target)  # unlike rename, it replaces nothing
    except FileExistsError:
        raise Conflict(f"{target} exists", "Name another file; nothing was written") from None
    except OSError as error:
        raise QueueError(f"cannot write {target}: {error.strerror}") from None
    finally:
        os.unlink(draft)
    return os.stat(target).st_size


def _fill(db: sqlite3.Connection, draft: str, progress: Callable[[float], None]) -> None:
    fresh = sqlite3.connect(draft, isolation_level=None)
    try:
        db.backup(
            fresh,
            pages=PAGES,
            progress=lambda _, left, total: progress(1 - left / total if total else 1.0),
        )
        # One file, without a -wal beside it; opening it as a queue makes it one again.
        fresh.execute("PRAGMA journal_mode = DELETE")
    finally:
        fresh.close()
    fd = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
