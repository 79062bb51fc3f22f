"""Look the installation over: the file, its rights, the machine, what was left lying about."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass

from queuectl import wake
from queuectl.errors import Damaged, QueueError, Refused
from queuectl.place import NETWORK, file_system
from queuectl.storage import Storage, ballast
from queuectl.worker import alive, roster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queuectl.job import PoolRecord, WorkerRecord
    from queuectl.place import Place

LOW_BYTES = 64 << 20
LONG_WAL_BYTES = 64 << 20
# Before this, a commit that restarts the WAL and a checkpoint on another connection could
# corrupt the file (sqlite.org/wal.html); queuectl never lets the two meet.
WAL_RESET_FIXED = (3, 51, 3)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level`: ok, warn or bad; `do` is empty where it is ok."""

    name: str
    level: str
    what: str
    do: str = ""


def examine(opened: Callable[[], Storage], place: Place) -> list[Finding]:
    """Look at everything; where the file does not open, at all that needs no file."""
    parts = (_installation, _file_system, _disk, _sides, _hooks)
    found = [finding for part in parts for finding in part(place)]
    return found + list(_database(opened, place))


def _database(opened: Callable[[], Storage], place: Place) -> Iterator[Finding]:
    try:
        storage = opened()
        if storage.is_absent:
            do = "The first job makes one: queuectl enqueue"
            yield Finding("file", "warn", f"there is no queue at {place.db} yet", do)
            return
        yield Finding("file", "ok", place.db)
        yield from _rights(place)
        for part in (_contents, _workers, _leftovers):
            yield from part(storage, place)
    except QueueError as error:
        yield Finding("file", "bad", error.message, _way_out(error))


def _way_out(error: QueueError) -> str:
    if isinstance(error, Damaged):
        return "Stop the workers, move it aside, and put a backup in its place"
    other = "Name another database: --db PATH" if isinstance(error, Refused) else ""
    return error.hint or other


def _installation(place: Place) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"Python {python}")
    sqlite = Storage.engine_version()
    known = "" if sqlite >= WAL_RESET_FIXED else "; its WAL-reset fault is guarded against"
    yield Finding("sqlite", "ok", f"SQLite {'.'.join(map(str, sqlite))}{known}")


def _file_system(place: Place) -> Iterator[Finding]:
    kind = file_system(os.path.dirname(place.db))
    if kind in NETWORK:
        do = "Move the queue to a local disk"
        yield Finding("file system", "bad", f"{kind}: locks do not hold there", do)


def _rights(place: Place) -> Iterator[Finding]:
    for path, wanted in (
        (place.db, 0o600),
        (place.db + "-wal", 0o600),
        (place.db + "-shm", 0o600),
        (place.state, 0o700),
        (place.logs, 0o700),
        (place.run, 0o700),
    ):
        try:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
        except OSError:
            continue
        if mode & ~wanted:
            do = f"To make it private: chmod {wanted:o} {path}"
            yield Finding("rights", "warn", f"{path} has mode {mode:04o}", do)


def _disk(place: Place) -> Iterator[Finding]:
    folder = os.path.dirname(place.db)
    try:
        found = os.statvfs(folder)
    except OSError as error:
        do = "Make it, or name another place: --db PATH"
        yield Finding("disk", "bad", f"{folder}: {error.strerror}", do)
        return
    free = found.f_bavail * found.f_frsize
    level = "ok" if free > LOW_BYTES else "warn" if free > LOW_BYTES // 16 else "bad"
    do = "" if level == "ok" else "Free some space, or: queuectl prune --older-than 7d"
    yield Finding("disk", level, f"{free >> 20} MiB are free", do)
    if os.path.isdir(place.logs) and not ballast.is_kept(place):  # a worker has been here
        do = "Workers write it anew where there is room: queuectl worker start"
        what = "the ballast, which lets a result be stored on a full disk, is gone"
        yield Finding("ballast", "warn", what, do)


def _sides(place: Place) -> Iterator[Finding]:
    """Look at what SQLite keeps beside the database."""
    sides = [place.db + end for end in ("-wal", "-shm") if os.path.lexists(place.db + end)]
    if sides and place.is_empty():
        what = f"left of a database that is gone: {' and '.join(sides)}"
        do = f"Put it back beside them, or give it up: rm {' '.join(sides)}"
        yield Finding("wal", "warn", what, do)
    try:
        wal = os.stat(place.db + "-wal").st_size
    except OSError:
        wal = 0
    if wal > LONG_WAL_BYTES:
        do = "Look for a program that keeps the file open in a read transaction"
        yield Finding("wal", "warn", f"the WAL has {wal >> 20} MiB", do)


def _contents(storage: Storage, place: Place) -> Iterator[Finding]:
    trouble = storage.integrity()
    if trouble:
        do = "Stop the workers and restore a backup: queuectl worker stop"
        yield Finding("integrity", "bad", trouble, do)
    else:
        yield Finding("integrity", "ok", "the file is sound")
    for job in storage.processing():
        if job.stuck:
            do = f"To give it up: queuectl cancel --force {job.id}"
            yield Finding("stuck", "bad", f"job {job.id}: {job.stuck}", do)


def _workers(storage: Storage, place: Place) -> Iterator[Finding]:
    living = roster.workers(storage, place)
    yield Finding("workers", "ok", f"{len(living)} alive")
    for worker in living:
        if worker.state == "stopped":
            do = f"To let it go on: kill -CONT {worker.pid}"
            yield Finding("workers", "warn", f"worker {worker.pid} is stopped by a signal", do)
    for queue in storage.ready_queues():
        if not any(not worker.queues or queue in worker.queues for worker in living):
            do = "Start one: queuectl worker start"
            yield Finding("queue", "warn", f"jobs wait in {queue} and no worker serves it", do)


def _leftovers(storage: Storage, place: Place) -> Iterator[Finding]:
    """Find who registered and is dead, and files in run/ that belong to nobody."""
    members: list[PoolRecord | WorkerRecord] = [*storage.pools(), *storage.workers()]
    dead = [member for member in members if not alive.is_alive(place, member)]
    if dead:
        do = "The next start sees to them: queuectl worker start"
        yield Finding("leftovers", "warn", f"{len(dead)} registered and are dead", do)
    tokens = {member.lock for member in members}
    stray = [path for path in wake.files(place) if alive.token_of(path) not in (*tokens, "scale")]
    if stray:
        do = f"They do no harm; to remove one: rm {stray[0]}"
        yield Finding("leftovers", "warn", f"{len(stray)} files in {place.run} are nobody's", do)


def _hooks(place: Place) -> Iterator[Finding]:
    try:
        with open(place.worker_log, encoding="utf-8", errors="replace") as log:
            failed = [line for line in log if "hook failed" in line]
    except OSError:
        return
    if failed:
        do = f"Look into {place.worker_log}"
        yield Finding("hooks", "warn", f"{len(failed)} failed, the last: {failed[-1].strip()}", do)
