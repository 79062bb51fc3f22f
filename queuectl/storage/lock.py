"""The write lock: an flock on the state directory, which every write transaction holds.

SQLite's own write lock is taken by sleeping and trying, unfairly; waiters on an flock are queued
by the kernel. The directory is locked, not a file in it: nobody can delete it from under us.
"""

from __future__ import annotations

import _thread
import fcntl
import os

from queuectl.errors import Busy

WAIT_S = 30.0


def acquire(fd: int, wait_s: float = WAIT_S) -> None:
    """Take the lock; raise Busy, naming the holder, after `wait_s` seconds."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _wait(fd, wait_s)


def release(fd: int) -> None:
    """Let the lock go."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def _wait(fd: int, wait_s: float) -> None:
    """Queue for the lock. A blocking flock has no timeout, so a thread waits in our place.

    (An alarm signal would be shorter, but a library must not take its caller's signals.)
    """
    done = _thread.allocate_lock()
    turn = _thread.allocate_lock()  # who decides first: the thread that got it, or the timeout
    done.acquire()
    mine = os.dup(fd)  # ours may be closed meanwhile, and its number used again

    def queue_up() -> None:
        fcntl.flock(mine, fcntl.LOCK_EX)
        if turn.acquire(blocking=False):
            done.release()
        os.close(mine)  # too late: that was the last descriptor, so the lock is free again

    _thread.start_new_thread(queue_up, ())
    try:
        if done.acquire(timeout=wait_s) or not turn.acquire(blocking=False):
            return
    except BaseException:  # Ctrl-C
        if turn.acquire(blocking=False):
            _part_from(fd)
        raise
    _part_from(fd)
    raise Busy(f"the queue is locked by {_holder(fd)} for more than {wait_s:.0f} s")


def _part_from(fd: int) -> None:
    """Open the directory anew under the same number, and leave the old one to the late thread.

    An flock belongs to what was opened, not to who asked: what the thread lets go when its turn
    comes must not be the lock that we have taken since.
    """
    fresh = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    os.dup2(fresh, fd, inheritable=False)
    os.close(fresh)


def _holder(fd: int) -> str:
    """Name the process that holds the lock, and say so if it is stopped."""
    found = os.fstat(fd)
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as table:
            rows = [line.split() for line in table]
        pid = next(row[4] for row in rows if row[1] == "FLOCK" and row[5] == wanted)
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as status:
            state = status.read().rpartition(")")[2].split()[0]
    except (OSError, StopIteration, IndexError):
        return "another process"
    return f"process {pid}, which is stopped," if state in "tT" else f"process {pid}"
