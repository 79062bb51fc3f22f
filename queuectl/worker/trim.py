"""Keep a run's output within log-max-size: its head and its tail stay, one line stands between.

The job writes straight into the log, so nobody can stop it at the limit. While it runs, the
middle is punched out of the file: the disk gets its blocks back and every offset stays. When it
has ended, the log is written anew without the gap and renamed into its place, so that whoever
follows the old file still has all of it, and a kill half-way loses nothing.
"""

from __future__ import annotations

import os

from queuectl import logs
from queuectl.errors import Refused
from queuectl.worker import tree

STEP = 1 << 20
# What stays at the end of a growing run, whatever the limit: room for `logs -f` to catch up.
RUNNING_TAIL = 128 << 20
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_CHUNK = 1 << 20


class Trimmer:
    """Watches the part of an open log that one run writes."""

    def __init__(
        self, log_fd: int, path: str, start: int, limit: int, running_tail: int = RUNNING_TAIL
    ) -> None:
        """Take the log's descriptor, where the run's output begins, and how much may stay."""
        self._fd, self._path, self._start = log_fd, path, start
        self._head, self._tail = limit // 2, limit - limit // 2
        self._running_tail = max(self._tail, running_tail)
        self._gap_end = 0
        self._can_punch = True

    def look(self) -> None:
        """Punch the middle out of what has been written so far, if that is worth the call."""
        size = self._size()
        gap_end = size - self._running_tail
        if self._can_punch and gap_end - max(self._gap_end, self._head_end) >= STEP:
            self._punch(gap_end)

    def finish(self) -> tuple[int, int]:
        """Cut the run's part down to its limit; give where it begins and ends in the log."""
        size = self._size()
        if size - self._start <= self._head + self._tail:
            return self._start, size
        try:
            return self._start, self._rewrite(size)
        except OSError:  # no room, or the log was moved: the gap stays in the file
            if self._can_punch:
                self._punch(size - self._tail)
            return self._start, self._size()

    @property
    def _head_end(self) -> int:
        return self._start + self._head

    def _size(self) -> int:
        """Give the size of the log; a job may have cut it, and what was before the run with it."""
        size = os.fstat(self._fd).st_size
        if size < self._start:
            self._start = 0
        if size < self._gap_end:
            self._gap_end = 0
        return size

    def _rewrite(self, size: int) -> int:
        """Write the log anew without the middle of the run; give its size. Raises OSError."""
        if not os.path.samestat(os.lstat(self._path), os.fstat(self._fd)):
            raise FileNotFoundError(self._path)
        source = self._reopen(os.O_RDONLY)
        try:
            cut_at, broken = self._head_end, self._breaks_a_line(source)
            # What goes is at least as long as the line that says so.
            cut_to = min(size, max(size - self._tail, cut_at + logs.GAP_LINE_ROOM))
            line = logs.gap_line(cut_to - cut_at, broken)
            return _replace(self._path, source, (0, cut_at), line, (cut_to, size))
        finally:
            os.close(source)

    def _punch(self, gap_end: int) -> None:
        """Take everything from the head to `gap_end` out, but for a line that says so.

        The line comes first, for who reads meanwhile; what it covers goes back if there is no
        way to punch here.
        """
        begin = max(self._gap_end, self._head_end + logs.GAP_LINE_ROOM)
        if gap_end <= begin:
            return
        fd = -1
        try:
            fd = self._reopen(os.O_RDWR)
            broken = self._breaks_a_line(fd)
            line = logs.gap_line(gap_end - self._head_end - broken, broken)
            covered = os.pread(fd, logs.GAP_LINE_ROOM, self._head_end)
            os.pwrite(fd, line.ljust(logs.GAP_LINE_ROOM, b"\0"), self._head_end)
            try:
                _punch_hole(fd, begin, gap_end - begin)
            except (OSError, AttributeError):
                os.pwrite(fd, covered, self._head_end)
                raise
            self._gap_end = gap_end
        except (OSError, AttributeError):
            self._can_punch = False  # this file system does not know how, or no system call
        finally:
            if fd >= 0:
                os.close(fd)

    def _breaks_a_line(self, fd: int) -> bool:
        """Say whether the head ends in the middle of a line."""
        return self._head_end > 0 and os.pread(fd, 1, self._head_end - 1) != b"\n"

    def _reopen(self, how: int) -> int:
        """Open the log a second time: through the job's descriptor every write appends."""
        if tree.LINUX:
            return os.open(f"/proc/self/fd/{self._fd}", how | os.O_CLOEXEC)
        fd = os.open(self._path, how | os.O_NOFOLLOW | os.O_CLOEXEC)
        if os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
            return fd
        os.close(fd)
        raise FileNotFoundError(self._path)


def finish_lost(path: str, start: int, limit: int) -> tuple[int, int] | None:
    """Cut the part of a run whose worker is gone; give its place, None where there is no log."""
    try:
        fd = logs.open_plain(path)
    except (OSError, Refused):
        return None
    try:
        return Trimmer(fd, path, start, limit).finish()
    finally:
        os.close(fd)


Part = tuple[int, int]


def _replace(path: str, source: int, head: Part, line: bytes, tail: Part) -> int:
    """Put a file of a head, a line and a tail in a log's place; give its size."""
    draft = logs.draft(path)
    logs.discard(draft)
    target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _copy(source, target, head)
        os.write(target, line)
        _copy(source, target, tail)
        size = os.lseek(target, 0, os.SEEK_CUR)
        os.ftruncate(target, size)
        os.rename(draft, path)
        return size
    except OSError:
        logs.discard(draft)
        raise
    finally:
        os.close(target)


def _copy(source: int, target: int, part: Part) -> None:
    """Copy a part of a file; an earlier run's gap stays a gap."""
    start, end = part
    while start < end:
        chunk = os.pread(source, min(_CHUNK, end - start), start)
        if not chunk:
            raise OSError("the log has become shorter")
        start += len(chunk)
        if not chunk.strip(b"\0"):
            os.lseek(target, len(chunk), os.SEEK_CUR)
            continue
        while chunk:
            chunk = chunk[os.write(target, chunk) :]


def _punch_hole(fd: int, start: int, length: int) -> None:
    """Give the blocks of a part of a file back to the disk. Raises OSError, AttributeError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "fallocate64", None) or libc.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call(fd, _PUNCH_HOLE | _KEEP_SIZE, start, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
