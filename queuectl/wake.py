"""Who must be woken: a FIFO for each worker that is idle and each command that waits.

A worker that finds nothing to do puts its FIFO into run/idle/; whoever enqueues takes one such
FIFO away and writes a byte. One FIFO read by several would lose wake-ups: its first reader may
not serve that queue. Losing a wake-up costs at most one poll interval, so nothing here may fail.
"""

from __future__ import annotations

import os

from queuectl.place import Place, make_private

ALL = "all"
_IDLE, _BUSY, _WAITING = "idle", "busy", "waiting"
_SHELVES = (_IDLE, _BUSY, _WAITING)


class Bell:
    """A FIFO of our own, to be rung by others. Its name carries the queues it is for."""

    def __init__(
        self, place: Place, token: str, queues: str | None = None, rest: str = _BUSY
    ) -> None:
        self._place = place
        self._rest = rest  # where it lies while nobody may take it
        # A list of queues too long for a file name is rung for every queue.
        served = queues if queues and len(queues) < 150 else ALL
        self._name = f"{token}+{served}"
        self._fd = -1
        self._shelf = rest
        self._make()

    def fileno(self) -> int:
        """Give the descriptor to poll."""
        return self._fd

    def idle(self, idle: bool) -> None:
        """Say whether we want to be rung for a new job."""
        shelf = _IDLE if idle else _BUSY
        if shelf == self._shelf and not idle:
            return
        try:
            os.rename(self._path(_BUSY if idle else _IDLE), self._path(shelf))
            self._shelf = shelf
        except FileNotFoundError:
            if os.path.exists(self._path(shelf)):
                self._shelf = shelf
            else:
                self._make()  # somebody cleared run/: begin again
        except OSError:
            pass

    def drain(self) -> None:
        """Take what has been written, so that the next ring is heard."""
        try:
            while os.read(self._fd, 4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        """Take the FIFO away."""
        for shelf in _SHELVES:
            try:
                os.unlink(self._path(shelf))
            except OSError:
                pass
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make(self) -> None:
        try:
            make_private(self._place.run)
            for shelf in _SHELVES:
                make_private(os.path.join(self._place.run, shelf))
            os.mkfifo(self._path(self._rest), 0o600)
            # Read and write: a reader alone would see the end of file when a ringer leaves.
            fd = os.open(self._path(self._rest), os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            return
        if self._fd >= 0:
            os.dup2(fd, self._fd, inheritable=False)
            os.close(fd)
        else:
            self._fd = fd
        self._shelf = self._rest

    def _path(self, shelf: str) -> str:
        return os.path.join(self._place.run, shelf, self._name)


def waiting_bell(place: Place) -> Bell:
    """Make a bell for a command that waits: it is rung whenever a job has ended."""
    return Bell(place, f"waiting-{os.getpid()}-{os.urandom(4).hex()}", rest=_WAITING)


def ring_waiting(place: Place) -> None:
    """Wake the commands that wait for a job to end; clear away those that were killed."""
    folder = os.path.join(place.run, _WAITING)
    for name in _listed(folder):
        path = os.path.join(folder, name)
        if not _ring(path):
            try:
                os.unlink(path)
            except OSError:
                pass


def ring_idle(place: Place, queue: str, jobs: int = 1) -> None:
    """Wake as many idle workers as there are new jobs in this queue."""
    folder = os.path.join(place.run, _IDLE)
    for name in _listed(folder):
        served = name.partition("+")[2]
        if jobs and (served == ALL or queue in served.split(",")):
            jobs -= _ring(os.path.join(folder, name), os.path.join(place.run, _BUSY, name))


def ring_all(place: Place) -> None:
    """Wake every worker and every supervisor: there are new orders."""
    for shelf in (_IDLE, _BUSY):
        folder = os.path.join(place.run, shelf)
        for name in _listed(folder):
            _ring(os.path.join(folder, name))


def is_served(place: Place, queue: str) -> bool:
    """Say whether a living worker takes jobs of this queue: its bell has somebody who listens.

    The register knows too, but reading it costs an enqueue more than storing the job.
    """
    shelves = (_BUSY, _IDLE, _BUSY)  # again, for one that has just moved
    names = {name for shelf in shelves for name in _listed(os.path.join(place.run, shelf))}
    for name in names:
        served = name.partition("+")[2]
        if served == ALL or queue in served.split(","):
            paths = [os.path.join(place.run, shelf, name) for shelf in shelves]
            if any(_has_reader(path) for path in paths):
                return True
    return False


def _has_reader(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def _ring(path: str, moved_to: str | None = None) -> bool:
    """Write a byte into a FIFO that somebody reads; say whether it was ours to ring.

    Moving it first makes sure that two ringers wake two workers.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False  # nobody reads it: a worker that was killed
    try:
        if moved_to:
            os.rename(path, moved_to)
        os.write(fd, b"!")
    except BlockingIOError:
        pass  # it is full of unheard rings
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def files(place: Place) -> list[str]:
    """List the locks and bells that lie in run/, whoever they belong to."""
    folders = [place.run, *(os.path.join(place.run, shelf) for shelf in _SHELVES)]
    paths = [os.path.join(folder, name) for folder in folders for name in _listed(folder)]
    return [path for path in paths if not os.path.isdir(path)]


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
