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
# A line about a gap, and the bytes at the gap's beginning that are kept free for it.
GAP_LINE_ROOM = 64
_GAP_LINE = rb"=== queuectl: ([0-9]+) bytes left out ===\n\0*\Z"
_BLOCK = 1 << 16  # the largest block of a file system: a hole begins that near its line


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


def open_plain(path: str) -> int:
    """Open a log to read it; give its descriptor. Raises FileNotFoundError and Refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(f"{path} is not a log")
    return fd


def read(path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read a part of a log as it is now, piece by piece. Raises FileNotFoundError and Refused.

    What is added meanwhile is left out: a job that prints its own log would never end.
    """
    fd = open_plain(path)
    try:
        position = start
        end = os.fstat(fd).st_size if end is None else end
        while position < end:
            chunk, position = read_at(fd, position, end - position)
            if not chunk:
                return
            yield chunk
    finally:
        os.close(fd)


def read_at(fd: int, position: int, room: int) -> tuple[bytes, int]:
    """Read up to `room` bytes (a MiB at most); give them and where to go on.

    A gap is skipped; who stands in the middle of one is told how much is missing.
    """
    while True:
        before = gaps(fd)
        wanted = min(room, _CHUNK)
        for line_end, resume in before:
            if line_end < position < resume:
                return gap_line(resume - position), resume
            if position == line_end:
                position = resume
            elif position < line_end:
                wanted = min(wanted, line_end - position)
                break
        chunk = os.pread(fd, wanted, position)
        if gaps(fd) == before:  # else it may have been punched out under our eyes
            return chunk, position + len(chunk)


def gaps(fd: int) -> list[tuple[int, int]]:
    """List what was punched out of a log: where the line about it ends, where output goes on.

    A hole without such a line before it is output like any other.
    """
    found = os.fstat(fd)
    if found.st_blocks * 512 >= found.st_size or not hasattr(os, "SEEK_HOLE"):
        return []
    told: list[tuple[int, int]] = []
    position = 0
    try:
        while (hole := os.lseek(fd, position, os.SEEK_HOLE)) < found.st_size:
            if gap := _gap_before(fd, hole):
                told.append(gap)
            position = os.lseek(fd, hole, os.SEEK_DATA)
    except OSError:
        pass  # nothing but a hole from here on
    return told


def gap_line(missing: int, broken: bool = False) -> bytes:
    """Write the line that stands for what was left out; `broken`: the line before has no end."""
    return b"%b=== queuectl: %d bytes left out ===\n" % (b"\n" * broken, missing)


def draft(path: str) -> str:
    """Name the file in which a log is written anew; no job's log has such a name."""
    return path.removesuffix(".log") + ".new"


def tail_start(path: str, lines: int, start: int = 0, end: int | None = None) -> int:
    """Find where the last `lines` lines of a part of a log begin. Raises as `read`."""
    fd = open_plain(path)
    try:
        return _tail_start(fd, lines, start, os.fstat(fd).st_size if end is None else end)
    finally:
        os.close(fd)


def _tail_start(fd: int, lines: int, start: int, end: int) -> int:
    position, wanted, first = end, lines, True
    punched = gaps(fd)
    while position > start and wanted:
        floor = start
        for line_end, resume in punched:
            if line_end < position <= resume:
                position = line_end
            elif resume < position:
                floor = max(floor, resume)
        size = min(65_536, position - floor)
        chunk = os.pread(fd, size, position - size)
        position -= size
        # The newline that ends the last line begins no other.
        cut = len(chunk) - (first and chunk.endswith(b"\n"))
        first = False
        while wanted and (found := chunk.rfind(b"\n", 0, cut)) >= 0:
            cut = found
            wanted -= 1
        if not wanted:
            return position + cut + 1
    return start if wanted else end


def remove(place: Place, job: Job) -> None:
    """Remove the log of a job that was deleted."""
    discard(place.log(job.id))
    discard(draft(place.log(job.id)))  # by a worker that was killed while it wrote it


def discard(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        pass  # it never was, or somebody was faster


def last_line(path: str) -> str:
    """Give the last line that is not blank, from the last 4 KiB; empty where there is none."""
    try:
        size = os.path.getsize(path)
        end = b"".join(read(path, max(0, size - 4096)))
    except (OSError, Refused):
        return ""
    lines = end.decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _gap_before(fd: int, hole: int) -> tuple[int, int] | None:
    """Find the line that explains a hole: where it ends, and where it says that output goes on."""
    import re

    start = max(0, hole - _BLOCK)
    before = os.pread(fd, hole - start, start)
    match = re.search(_GAP_LINE, before)
    if not match:
        return None
    line_end = start + len(before.rstrip(b"\0"))
    return line_end, start + match.start() + int(match[1])


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
