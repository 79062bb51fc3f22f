"""Follow a job's log while it grows, over every run, until the job has ended.

The file under a log's name may change: a run that outgrew log-max-size is written anew (the old
file keeps all that was written), and a log that somebody moved is begun again by the next run.
"""

from __future__ import annotations

import os

from queuectl import logs
from queuectl.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queuectl.job import Job
    from queuectl.place import Place
    from queuectl.storage import Storage

_CHUNK = 1 << 20


def follow(
    storage: Storage,
    place: Place,
    job: Job,
    start: int,
    only: int | None,
    pause: Callable[[], None],
) -> Iterator[bytes]:
    """Give what stands in a job's log from `start` on, and what is added until the job ends.

    `only`: until that run has ended. `pause` is called while there is nothing new.
    """
    log = _Log(place.log(job.id), start)
    try:
        while True:
            job, gone = _again(storage, job)
            replaced = log.look(job)
            # After the look, so that it gives all that had been written when it was taken.
            yield from log.new(lambda job=job: _end(storage, job, only))  # type: ignore[misc]
            over = gone or _is_over(job, only)
            if replaced and not (over and only) and log.move_on(storage, job):
                continue
            if over:
                return
            pause()
    finally:
        log.close()


class _Log:
    """The open log, and how far it has been read."""

    def __init__(self, path: str, position: int) -> None:
        self._path, self._position = path, position
        self._fd = -1
        self._run = 0  # the one that ends before the file can be replaced

    def look(self, job: Job) -> bool:
        """Open the log once it is there; say whether another file has taken its place."""
        try:
            found = os.stat(self._path)
            if self._fd < 0:
                self._fd = logs.open_plain(self._path)
                found = os.fstat(self._fd)
        except FileNotFoundError:
            return False
        if not os.path.samestat(found, os.fstat(self._fd)):
            return True
        self._run = job.run if job.state == "processing" else job.run + 1
        return False

    def new(self, end: Callable[[], int | None]) -> Iterator[bytes]:
        """Give what has been added since; from the beginning where the job has cut its log.

        `end` says where to stop, when that is known: it is asked after a piece has been read.
        """
        if self._fd < 0:
            return
        if os.fstat(self._fd).st_size < self._position:
            self._position = 0
        while True:
            chunk, after = logs.read_at(self._fd, self._position, _CHUNK)
            limit = end()
            if limit is not None and limit < after and self._is_current():
                chunk, after = chunk[: max(0, limit - self._position)], limit
            self._position = after
            if not chunk:
                return
            yield chunk

    def _is_current(self) -> bool:
        """Say whether the file that we read still bears the log's name."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def move_on(self, storage: Storage, job: Job) -> bool:
        """Go on in the file that has replaced this one; False where it is too early for that."""
        position = 0
        if os.fstat(self._fd).st_nlink == 0:  # written anew, not moved: skip what we have seen
            ended = [run for run in storage.runs(job) if run.run == self._run and run.outcome]
            if not ended:
                return False
            position = ended[0].log_end or 0
        os.close(self._fd)
        self._fd = -1
        self._position = position
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _again(storage: Storage, job: Job) -> tuple[Job, bool]:
    """Give a job as it is now; as it was, and True, where it has been deleted."""
    try:
        return storage.job(job.id), False
    except NotFound:
        return job, True


def _end(storage: Storage, job: Job, only: int | None) -> int | None:
    """Give where the one run that is followed ends in the log, once it has ended."""
    runs = storage.runs(job) if only is not None else []
    return next((run.log_end for run in runs if run.run == only and run.outcome), None)


def _is_over(job: Job, only: int | None) -> bool:
    if only is None or job.run == only:
        return job.finished_at is not None or (only is not None and job.state != "processing")
    return job.run > only
