"""Where a queue lives, and whether that place is ours and safe: the one rule for files.

`~/.queuectl.db` has its state in `~/.queuectl/`; any other database path likewise (contract §1).
"""

from __future__ import annotations

import os
import re
import stat

from queuectl.errors import QueueError, Refused

MARKER = ".queuectl"
# What an early tool of this name left in our state directory, before there was a marker.
EARLY_CONTENT = {"logs"}
NETWORK = frozenset(
    """nfs nfs4 cifs smb3 smbfs 9p afs ceph coda fuse.sshfs fuse.glusterfs lustre gpfs beegfs
    ocfs2 gfs2 fuse.s3fs fuse.rclone ncpfs webdav davfs""".split()  # noqa: SIM905
)


class Place:
    """The paths of one queue. Not a dataclass: `enqueue` has no 6 ms for that import."""

    __slots__ = ("db", "logs", "run", "state", "worker_log")

    def __init__(self, db: str) -> None:
        self.db = db
        self.state = db[:-3] if os.path.basename(db)[1:].endswith(".db") else db + ".d"
        self.logs = os.path.join(self.state, "logs")
        self.run = os.path.join(self.state, "run")
        self.worker_log = os.path.join(self.state, "worker.log")

    def is_empty(self) -> bool:
        """Say whether no database is there."""
        return not os.path.lexists(self.db)

    def log(self, job_id: str) -> str:
        """Give the path of a job's log."""
        return os.path.join(self.logs, job_id + ".log")


def open_state(place: Place) -> int:
    """Open our state directory, made if it is missing; give its descriptor.

    Its flock is the write lock of the queue. Raises Refused where it is not ours or not safe.
    """
    try:
        fd = _open_directory(place.state)
    except FileNotFoundError:
        _make_state(place)
        fd = _open_directory(place.state)
    try:
        found = os.fstat(fd)
        _check_safe(place.state, found)
        if os.major(found.st_dev) == 0:  # no disk of ours: memory, an overlay, or a network
            refuse_network(place)
        if _marker(fd) != os.path.basename(place.db):
            _adopt(place, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_database(place: Place) -> os.stat_result | None:
    """Check the database file without opening it; None where there is none.

    Raises Refused where it is not a file of ours that only we can write.
    """
    try:
        found = os.lstat(place.db)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{place.db} is not a file", "Name another database: --db PATH")
    _check_safe(place.db, found)
    if found.st_nlink > 1:
        raise Refused(f"{place.db} has {found.st_nlink} hard links; it was left untouched")
    return found


def refuse_network(place: Place) -> None:
    """Raise Refused where the place lies on a network file system: locks do not hold there."""
    kind = file_system(os.path.dirname(place.db))
    if kind in NETWORK:
        raise Refused(
            f"{place.db} lies on a network file system ({kind}), where locks do not hold",
            "Keep the queue on a local disk: --db PATH",
        )


def make_private(path: str) -> None:
    """Make a directory of ours below the state directory, if it is missing."""
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # a umask can only have taken rights away
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(f"{path} is not a directory") from None
        _check_safe(path, found)
        if found.st_mode & 0o077:
            os.chmod(path, 0o700)


def _open_directory(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise Refused(f"{path} is in the way: the state directory goes there") from None
        raise QueueError(f"cannot open {path}: {error.strerror}") from None


def _make_state(place: Place) -> None:
    refuse_network(place)  # before anything is left there
    try:
        os.mkdir(place.state, 0o700)
        os.chmod(place.state, 0o700)
    except FileExistsError:
        pass  # another client was faster
    except OSError as error:
        raise QueueError(
            f"cannot make {place.state}: {error.strerror}", "Name another place: --db PATH"
        ) from None


def _adopt(place: Place, fd: int) -> None:
    """Mark a new or early state directory as ours; refuse any other."""
    content = {name for name in os.listdir(fd) if not name.startswith(MARKER + ".")}
    wanted = os.path.basename(place.db)
    if MARKER in content:  # it was not there a moment ago, or it names another database
        if _marker(fd) != wanted:
            raise Refused(f"{place.state} belongs to another database, {_marker(fd)!a}")
        return
    if not content <= EARLY_CONTENT:
        raise Refused(
            f"{place.state} is not empty and was not made by queuectl; it was left untouched",
            "Name another database: --db PATH",
        )
    try:
        os.chmod(fd, 0o700)
        draft = f"{MARKER}.{os.getpid()}"
        marker = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
        with os.fdopen(marker, "wb") as file:
            os.fchmod(marker, 0o600)
            file.write(os.fsencode(wanted))
            file.flush()
            os.fsync(marker)
        os.rename(draft, MARKER, src_dir_fd=fd, dst_dir_fd=fd)  # whole or not at all
        os.fsync(fd)  # now: without its marker a directory with anything in it is not ours
    except OSError as error:
        raise QueueError(f"cannot write in {place.state}: {error.strerror}") from None


def _marker(fd: int) -> str | None:
    """Read the name of the database that a state directory serves; None without a marker."""
    try:
        marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
    except OSError:
        return None
    try:
        return os.fsdecode(os.read(marker, 4096))
    finally:
        os.close(marker)


def _check_safe(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o022:
        raise Refused(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})",
            f"To make it private: chmod go-w {path}",
        )


def file_system(directory: str, table: str = "/proc/self/mountinfo") -> str | None:
    """Name the type of the file system that holds a directory; None where that is not known."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:
            mounts = [line.split() for line in lines]
    except OSError:
        return None
    best, kind = "", None
    for fields in mounts:
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[fields.index("-", 6) + 1]
    return kind
