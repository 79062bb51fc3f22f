"""Job logs: one file a job, what it wrote and nothing else, except a line before each re-run."""

from __future__ import annotations

import os
import stat
import time

from queuectl.errors import Refused
from queuectl.place import Place, make_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from queuectl.job import Job

_CHUNK = 1 << 20


def open_for_run(place: Place, job: Job) -> tuple[int, int]:
    """Open a job's log for a new run; give its descriptor and where the run's output begins.

    Raises Refused where something that is not a log of ours is in its place, OSError where the
    disk says no. An older file's log of the same name is moved aside.
    """
    path = place.log(job.id)
    try:
        fd = _open(path)
    except FileNotFoundError:
        make_private(place.logs)
        fd = _open(path)
    try:
        found = os.fstat(fd)
        _check(path, found)
        if found.st_size and _is_older(job, found):
            os.close(fd)
            _move_aside(path)
            fd = _open(path)
            found = os.fstat(fd)
        if found.st_mode & 0o077:  # an early tool's
            os.fchmod(fd, 0o600)
        if job.run > 1 and found.st_size:
            os.write(fd, _headline(path, found.st_size, job))
        os.set_blocking(fd, True)
        return fd, os.fstat(fd).st_size
    except BaseException:
        os.close(fd)
        raise


def read(path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read a part of a log, piece by piece. Raises FileNotFoundError and Refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as log:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused(f"{path} is not a log")
        log.seek(start)
        left = None if end is None else end - start
        while chunk := log.read(_CHUNK if left is None else min(left, _CHUNK)):
            if left is not None:
                left -= len(chunk)
            yield chunk


def tail_start(path: str, lines: int, start: int = 0, end: int | None = None) -> int:
    """Find where the last `lines` lines of a part of a log begin."""
    with open(path, "rb") as log:
        position = log.seek(0, os.SEEK_END) if end is None else end
        wanted = lines
        first = True
        while position > start and wanted >= 0:
            size = min(65_536, position - start)
            log.seek(position - size)
            chunk = log.read(size)
            position -= size
            cut = len(chunk)
            if first and chunk.endswith(b"\n"):
                cut -= 1  # the newline that ends the last line begins no other
            first = False
            while wanted and (found := chunk.rfind(b"\n", 0, cut)) >= 0:
                cut = found
                wanted -= 1
            if not wanted:
                return position + cut + 1
    return start


def remove(place: Place, job: Job) -> None:
    """Remove the log of a job that was deleted."""
    try:
        os.unlink(place.log(job.id))
    except OSError:
        pass  # it never ran, or somebody was faster


def last_line(path: str) -> str:
    """Give the last line that is not blank, from the last 4 KiB; empty where there is none."""
    try:
        size = os.path.getsize(path)
        end = b"".join(read(path, max(0, size - 4096)))
    except (OSError, Refused):
        return ""
    lines = end.decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _open(path: str) -> int:
    try:
        # O_NONBLOCK: a FIFO in its place must not hang us. Appending keeps the order of
        # everything that the job's processes write through this one description.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        if os.path.lexists(path):
            raise Refused(f"cannot open the log {path}: {error.strerror}") from None
        raise


def _check(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is not a file")
    if found.st_nlink != 1:
        raise Refused(f"{path} has {found.st_nlink} hard links")
    if found.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to another user")


def _is_older(job: Job, found: os.stat_result) -> bool:
    """Tell a log that an earlier database file left: this job has not written it."""
    return job.run == 1 or found.st_mtime_ns // 1_000_000 < job.created_at - 1000


def _move_aside(path: str) -> None:
    number = 1
    while os.path.lexists(f"{path}.{number}"):
        number += 1
    os.rename(path, f"{path}.{number}")


def _headline(path: str, size: int, job: Job) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((job.started_at or 0) / 1000))
    attempt = f"attempt {job.attempts} of {job.max_retries + 1}"
    reader = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        broken = os.pread(reader, 1, size - 1) != b"\n"
    finally:
        os.close(reader)
    return f"{chr(10) * broken}=== queuectl: {attempt}, {stamp} ===\n".encode()
