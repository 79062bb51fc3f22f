"""The workers' own log: rare lines about what went wrong and what was done about it."""

from __future__ import annotations

import os
import time

from queuectl.place import Place

LIMIT_BYTES = 1 << 20

# Set in a foreground pool, whose owner reads the terminal or the service manager's journal.
to_stderr = False


def tell(place: Place, text: str) -> None:
    """Append one line to worker.log; a log that cannot be written stops nobody."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = f"{stamp} [{os.getpid()}] {text.translate(_ONE_LINE)}\n".encode("utf-8", "replace")
    try:
        fd = open_log(place)
        os.write(fd, line)
        os.close(fd)
        if to_stderr:
            os.write(2, line)
    except OSError:
        pass


def say(text: str) -> None:
    """Tell the owner of a foreground pool; nobody else needs to know."""
    if to_stderr:
        try:
            os.write(2, f"queuectl: {text}\n".encode())
        except OSError:
            pass


def open_log(place: Place) -> int:
    """Open worker.log for appending, rotated when it has grown."""
    path = place.worker_log
    try:
        if os.lstat(path).st_size > LIMIT_BYTES:
            os.rename(path, path + ".1")
    except OSError:
        pass
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o600)


_ONE_LINE = dict.fromkeys(range(32), "?")
