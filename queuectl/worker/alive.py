"""Who is alive. A living worker or supervisor holds an flock on a file of its own.

That lock is free at once when its holder dies, however it dies, and stays held while it is
stopped or suspended; no clock and no pid is trusted. The second witness is the pid together with
boot id and start ticks. Somebody is dead only if both witnesses agree.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager

from queuectl.place import Place, make_private
from queuectl.worker.tree import birth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from queuectl.job import PoolRecord, WorkerRecord

EXEC = ".exec"


class Seat:
    """The locks that one worker or supervisor holds while it lives."""

    def __init__(self, place: Place, kind: str) -> None:
        make_private(place.run)
        self.token = f"{kind}-{os.getpid()}-{secrets.token_hex(4)}"
        self._paths = [os.path.join(place.run, self.token + ".lock")]
        self._fds = [_lock_new(self._paths[0])]
        self.exec_fd = -1

    def open_exec_lock(self) -> int:
        """Take the lock that a job's processes inherit: held while any of them lives."""
        path = self._paths[0].removesuffix(".lock") + EXEC
        self.exec_fd = _lock_new(path)
        os.set_inheritable(self.exec_fd, True)
        self._paths.append(path)
        self._fds.append(self.exec_fd)
        return self.exec_fd

    def record(self, now: int) -> dict[str, object]:
        """Say who we are, for the register."""
        found = os.fstat(self._fds[0])
        mine: dict[str, object] = {
            "pid": os.getpid(),
            "birth": birth(os.getpid()),
            "lock": self.token,
            "lock_dev": found.st_dev,
            "lock_ino": found.st_ino,
            "now": now,
        }
        if self.exec_fd >= 0:
            held = os.fstat(self.exec_fd)
            mine |= {"exec_dev": held.st_dev, "exec_ino": held.st_ino}
        return mine

    def note(self, text: str) -> None:
        """Write into the exec lock whose session it guards, for whoever has to clear up."""
        os.pwrite(self.exec_fd, text.ljust(64).encode(), 0)

    def leave(self) -> None:
        """Give the locks up and take their files away."""
        for path, fd in zip(self._paths, self._fds, strict=True):
            try:
                if os.stat(path).st_ino == os.fstat(fd).st_ino:
                    os.unlink(path)
            except OSError:
                pass
            os.close(fd)


@contextmanager
def alone(place: Place, what: str) -> Iterator[None]:
    """Hold a named lock in run/: whoever else wants it waits."""
    make_private(place.run)
    path = os.path.join(place.run, what + ".lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def token_of(path: str) -> str:
    """Give the token of whoever a file in run/ belongs to."""
    return os.path.basename(path).partition(".")[0].partition("+")[0]


def is_alive(place: Place, record: PoolRecord | WorkerRecord) -> bool:
    """Say whether whoever registered still lives."""
    held = _is_held(place, record.lock + ".lock", record.lock_dev, record.lock_ino)
    return bool(held) or birth(record.pid) == record.birth


def has_heirs(place: Place, record: WorkerRecord) -> bool:
    """Say whether anybody holds the exec lock of a dead worker: then its job's processes live.

    That nobody holds it proves nothing: they may have closed it.
    """
    return bool(_is_held(place, record.lock + EXEC, record.exec_dev, record.exec_ino))


def inherited_lock(place: Place, record: WorkerRecord) -> tuple[int, int]:
    """Give device and inode of a worker's exec lock; zeros where they are another file's now."""
    lock = record.exec_dev, record.exec_ino
    return (0, 0) if _is_anothers(place, record.lock + EXEC, *lock) else lock


def noted_session(place: Place, record: WorkerRecord) -> str:
    """Read the note in a worker's exec lock; empty where there is none."""
    path = os.path.join(place.run, record.lock + EXEC)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        same = os.fstat(fd).st_ino == record.exec_ino
        return os.read(fd, 64).decode("ascii", "replace").strip() if same else ""
    finally:
        os.close(fd)


def noted_log_start(place: Place, record: WorkerRecord, run: int) -> int | None:
    """Give where the output of a worker's present run begins in its log; None: it is not noted."""
    words = noted_session(place, record).split()  # leader, ticks, run, place in the log
    return int(words[3]) if len(words) == 4 and words[2] == str(run) else None


def clear(place: Place, record: PoolRecord | WorkerRecord) -> None:
    """Remove the lock files and bells of somebody who is dead."""
    folders = (place.run, os.path.join(place.run, "idle"), os.path.join(place.run, "busy"))
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.startswith((record.lock + ".", record.lock + "+")):
                try:
                    os.unlink(os.path.join(folder, name))
                except FileNotFoundError:
                    pass  # another pool sees to the same dead


def _lock_new(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def _is_held(place: Place, name: str, dev: int, ino: int) -> bool | None:
    """Say whether a lock is held; None where its file is gone and nothing knows of it."""
    try:
        fd = os.open(os.path.join(place.run, name), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None if _is_anothers(place, name, dev, ino) else _is_listed(dev, ino)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != (dev, ino):
            return None if _is_anothers(place, name, dev, ino) else _is_listed(dev, ino)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask are not in the way
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _is_anothers(place: Place, name: str, dev: int, ino: int) -> bool:
    """Say whether a lock's inode has been given to another lock's file.

    That happens only when its own file is deleted and nobody has it open any more.
    """
    try:
        if os.stat(place.run).st_dev != dev:
            return False
        with os.scandir(place.run) as entries:
            return any(entry.inode() == ino and entry.name != name for entry in entries)
    except OSError:
        return False


def _is_listed(dev: int, ino: int) -> bool | None:
    """Look for a lock whose file was deleted in the kernel's own list."""
    wanted = f"{os.major(dev):02x}:{os.minor(dev):02x}:{ino}"
    try:
        with open("/proc/locks", encoding="ascii") as table:
            return True if any(wanted in line.split() for line in table) else None
    except OSError:
        return None
