"""One connection to the database file: opening it safely, and what a transaction is.

Facts this file is built on (measured; see docs/reliability.md):
- every write transaction and every checkpoint holds the flock of `lock.py`: SQLite before
  3.51.3 can corrupt a file when a commit that restarts the WAL meets another's checkpoint;
- the database, -wal and -shm are never opened and closed by path: the close would drop
  SQLite's own locks;
- a connection never crosses a fork.
"""

from __future__ import annotations

import os
import sqlite3

from queuectl.errors import Busy, Damaged, Full, Gone, QueueError
from queuectl.place import MARKER, Place, check_database, open_state
from queuectl.storage import lock, migrate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from queuectl.storage.absent import Look

# Frames (a page each) after which a commit also checkpoints. Few: a client that opens the file
# alone has to read the whole WAL first.
WAL_FRAMES = 256
# The file is not cut then but written over: growing it anew would make every sync write the
# file system's journal, too (290 instead of 134 µs). But it is cut where nothing was written over:
# a client that is alone reads it whole when it opens, and has to begin anew with all of it.
WAL_CUT_FRAMES = WAL_FRAMES + 16  # more than one small transaction beyond the limit

SCARCE_BYTES = 32 * 1024  # what SQLite needs at least to open a database whose -shm is gone


class Connection:
    """An open database and the descriptor of its lock."""

    def __init__(self, place: Place, flushed_later: bool = False) -> None:
        """Open the database; `flushed_later`: commits are durable after the next `flush`."""
        self.place = place
        self._flushed_later = flushed_later
        self._wal_fd = -1
        _refuse_foreign(place)
        self._lock = open_state(place)
        try:
            self.db = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> sqlite3.Connection:
        found = check_database(self.place)
        if found is None or found.st_size == 0:
            self._create()
            found = check_database(self.place)
        assert found is not None
        self._file = (found.st_dev, found.st_ino)
        db = None
        try:
            db = _connect(self.place.db)
            if migrate.version(db) < migrate.VERSION:
                self._migrate(db)
        except (sqlite3.Error, QueueError) as error:
            explained = _explained(error, self.place)  # before the close makes room again
            if db:
                self._let_go(db)  # a file that is refused is left without -wal and -shm
            raise explained from None
        if self._flushed_later:
            db.execute("PRAGMA synchronous = NORMAL")
        return db

    def flush(self) -> None:
        """Force to the disk what was committed; raises QueueError where the disk says no.

        The descriptor on the WAL stays open: SQLite's locks lie on other files, and the WAL is
        not replaced while a connection is open.
        """
        try:
            _data_sync(self._wal())
        except OSError as error:
            raise QueueError(f"cannot sync {self.place.db}: {error.strerror}") from None

    def _wal(self) -> int:
        if self._wal_fd < 0:
            self._wal_fd = os.open(self.place.db + "-wal", os.O_RDONLY | os.O_NOFOLLOW)
        return self._wal_fd

    def checkpoint_if_long(self) -> None:
        """Write the WAL back once it has grown; the caller holds the lock: no commit meets it."""
        try:
            if not self._reaches(WAL_FRAMES):
                return
            how = "TRUNCATE" if self._reaches(WAL_CUT_FRAMES) else "PASSIVE"
            self.db.execute("PRAGMA busy_timeout = 0")  # a reader in the way is not waited for
            self.db.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
            self.db.execute(f"PRAGMA busy_timeout = {int(lock.WAIT_S * 1000)}")
        except (OSError, sqlite3.Error):
            pass  # the commit is safe in the WAL; the next one tries again

    def _reaches(self, frames: int) -> bool:
        """Say whether the WAL has so many frames: that one has the salt of the present WAL.

        Older ones lie behind it when it was written over (sqlite.org/fileformat.html, 4.1).
        """
        wal = self._wal()
        place = 32 + (frames - 1) * (24 + 4096)
        if os.fstat(wal).st_size < place + 24:
            return False
        return os.pread(wal, 8, place + 8) == os.pread(wal, 8, 16)

    def _create(self) -> None:
        """Make an empty private file, and clear what an earlier one of that name left.

        Under the lock, so that two clients cannot both do it.
        """
        with _Locked(self._lock):
            if check_database(self.place) is not None:
                return
            for orphan in (self.place.db + "-wal", self.place.db + "-shm"):
                if os.path.lexists(orphan):
                    os.unlink(orphan)
            try:
                os.close(os.open(self.place.db, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                os.chmod(self.place.db, 0o600)
                _sync_directory(os.path.dirname(self.place.db))
            except OSError as error:
                raise QueueError(
                    f"cannot create {self.place.db}: {error.strerror}",
                    "Name another place: --db PATH",
                ) from None

    def _migrate(self, db: sqlite3.Connection) -> None:
        with _Locked(self._lock):
            try:
                have = migrate.version(db)
                if have == migrate.VERSION:
                    return  # another client was faster
                if have == 0:
                    migrate.keep_copy(db, self.place)
                    os.chmod(self.place.db, 0o600)
                    db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                migrate.migrate(db, have, self.place)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; the last one out checkpoints, so it needs the lock.

        Where somebody holds the lock for long, leave that to the end of the process.
        """
        self._let_go(self.db)
        if self._wal_fd >= 0:
            os.close(self._wal_fd)
        os.close(self._lock)

    def _let_go(self, db: sqlite3.Connection) -> None:
        try:
            with _Locked(self._lock, wait_s=1.0):
                db.close()
        except Busy:
            pass

    def write(self) -> Write | Look:
        """Open a write transaction: `with connection.write() as db: …`."""
        return Write(self)

    def read(self) -> Read | Look:
        """Open a read transaction: one consistent view of the file."""
        return Read(self)

    @staticmethod
    def engine_version() -> tuple[int, ...]:
        """Give the version of SQLite."""
        return sqlite3.sqlite_version_info

    def changes(self) -> int:
        """Give a number that changes when another connection has committed."""
        try:
            return int(self.db.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise _explained(error, self.place) from None

    def check_same_file(self) -> None:
        """Raise Gone unless the file at the path is still the one that was opened."""
        try:
            found = os.stat(self.place.db)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise Gone(f"{self.place.db} was removed or replaced while it was in use")


class Write:
    """A write transaction: all or nothing, alone, and durable when it is over."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        owner = self._connection
        lock.acquire(owner._lock)
        try:
            owner.check_same_file()
            owner.db.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            lock.release(owner._lock)
            raise _explained(error, owner.place) from None
        return owner.db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        owner = self._connection
        try:
            if error is None:
                owner.db.execute("COMMIT")
                owner.checkpoint_if_long()
        except sqlite3.Error as failure:
            raise _explained(failure, owner.place) from None
        finally:
            if owner.db.in_transaction:
                owner.db.execute("ROLLBACK")
            lock.release(owner._lock)
        if isinstance(error, sqlite3.Error):
            raise _explained(error, owner.place) from None


class Read:
    """A read transaction; it blocks nobody."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.db.execute("BEGIN")
        except sqlite3.Error as error:
            raise _explained(error, self._connection.place) from None
        return self._connection.db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._connection.db.execute("COMMIT")
        if isinstance(error, sqlite3.Error):
            raise _explained(error, self._connection.place) from None


class _Locked:
    """The lock alone, for what is no transaction."""

    def __init__(self, fd: int, wait_s: float = lock.WAIT_S) -> None:
        self._fd, self._wait_s = fd, wait_s

    def __enter__(self) -> None:
        lock.acquire(self._fd, self._wait_s)

    def __exit__(self, *_: object) -> None:
        lock.release(self._fd)


def _refuse_foreign(place: Place) -> None:
    """Refuse a file that is not ours before a directory is made beside it.

    Immutable: it leaves no -wal, takes no lock and checkpoints nothing. It may see an old
    header, so what it lets pass is looked at again, properly.
    """
    found = check_database(place)
    if not found or not found.st_size or os.path.lexists(os.path.join(place.state, MARKER)):
        return
    from urllib.parse import quote

    name = f"file:{quote(os.fsencode(place.db))}?immutable=1"
    db = sqlite3.connect(name, uri=True, isolation_level=None)
    try:
        migrate.version(db)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise _explained(error, place) from None
    finally:
        db.close()


_data_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


def _connect(path: str) -> sqlite3.Connection:
    # isolation_level=None: a transaction begins and ends where this file says so.
    db = sqlite3.connect(path, timeout=lock.WAIT_S, isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lacks_room(error: sqlite3.Error, place: Place) -> bool:
    """Say whether a full disk is behind an error: SQLite calls it so only where it writes pages.

    A connection that is opened then fails at the -shm, which is as long as SCARCE_BYTES at once,
    or at making a file.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
        return True
    if code & 0xFF not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return False
    try:
        found = os.statvfs(os.path.dirname(place.db))
    except OSError:
        return False
    no_inodes = found.f_files > 0 and found.f_favail == 0
    return no_inodes or found.f_bavail * found.f_frsize < SCARCE_BYTES


def _explained(error: BaseException, place: Place) -> BaseException:
    """Turn an error of SQLite into one of ours; give any other back as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    if _lacks_room(error, place):
        return Full(f"the disk that holds {place.db} is full", "Free some space and try again")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Damaged(f"{place.db} is not a sound database: {error}", "To look: queuectl doctor")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{place.db} is locked by a program that is not queuectl")
    if code == sqlite3.SQLITE_IOERR and not os.path.exists(place.db):
        return Gone(f"{place.db} was removed while it was in use")
    if isinstance(error, sqlite3.IntegrityError):
        return error
    return QueueError(f"{place.db}: {error}", "Look at its rights and at the disk")
