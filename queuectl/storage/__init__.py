"""What is recorded: every transaction begins and ends in `Storage`."""

from queuectl.storage.store import Storage

__all__ = ["Storage"]
