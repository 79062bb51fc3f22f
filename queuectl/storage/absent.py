"""A queue that is not there yet: empty, in memory, and never made by a command that only looks."""

from __future__ import annotations

import sqlite3

from queuectl.errors import NotFound, QueueError
from queuectl.storage import migrate
from queuectl.storage.sqlite import Connection
from queuectl.storage.store import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from queuectl.place import Place


class Absent(Storage):
    """Stands for the storage of a queue that does not exist."""

    is_absent = True

    def __init__(self, place: Place) -> None:
        """Make an empty queue that leaves no trace."""
        self._at = Nothing(place)

    def backup(self, target: str, progress: Callable[[float], None]) -> int:
        """Raise QueueError: there is nothing to copy."""
        raise QueueError(told(self._at.place))


class Nothing(Connection):
    """Stands for the connection to a file that does not exist."""

    def __init__(self, place: Place) -> None:
        """Make empty tables in memory."""
        self.place = place
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrate.migrate(self.db, 0, place)

    def close(self) -> None:
        """Forget it."""
        self.db.close()

    def write(self) -> Look:
        """Open a transaction in which nothing can be stored."""
        return Look(self)

    def read(self) -> Look:
        """Open a transaction that finds nothing."""
        return Look(self)


class Look:
    """A transaction on nothing. Storing something in it is an error, for it would be lost."""

    def __init__(self, nothing: Nothing) -> None:
        self._nothing = nothing
        self._before = nothing.db.total_changes

    def __enter__(self) -> sqlite3.Connection:
        return self._nothing.db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, NotFound):
            error.hint = told(self._nothing.place).replace("there", "There", 1)
        elif error is None and self._nothing.db.total_changes != self._before:
            raise QueueError(told(self._nothing.place))


def told(place: Place) -> str:
    """Say that there is no queue."""
    return f"there is no queue at {place.db} yet"
