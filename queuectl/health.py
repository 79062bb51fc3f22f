"""What the queue as a whole is doing, and whether anything is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from queuectl.errors import QueueError
from queuectl.render import length
from queuectl.worker import roster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from queuectl.place import Place
    from queuectl.storage import Storage


@dataclass(frozen=True)
class Status:
    """The state of the queue. Lengths in seconds; `drain_s`: until all that may run has run."""

    jobs: dict[str, int]
    workers: list[roster.Worker]
    paused: list[str]
    oldest_wait_s: float | None
    rate_per_s: float | None
    drain_s: float | None


def status(storage: Storage, place: Place, jobs: dict[str, int], now: int) -> Status:
    """Look at the whole queue; `jobs` are the counts by state."""
    oldest = min(storage.runnable(now).values(), default=None)
    rate = storage.pace(now)
    workers = roster.workers(storage, place)
    return Status(
        jobs=jobs,
        workers=workers,
        paused=sorted(storage.paused_queues()),
        oldest_wait_s=None if oldest is None else max(0, now - oldest) / 1000,
        rate_per_s=rate,
        drain_s=_drain_s(storage, workers, jobs["processing"], rate),
    )


def _drain_s(
    storage: Storage, workers: list[roster.Worker], processing: int, rate: float | None
) -> float | None:
    """Estimate how long the living workers have to do with what is runnable and what runs."""
    taking = [worker for worker in workers if worker.state not in ("draining", "stopped")]
    if not taking or not rate:
        return None
    of_all = any(not worker.queues for worker in taking)
    queues = set() if of_all else {name for worker in taking for name in worker.queues}
    left = processing + storage.count_ready(sorted(queues))
    return round(left / rate, 1) if left else None


def serving(workers: Iterable[roster.Worker], queue: str) -> list[roster.Worker]:
    """Give the workers that take jobs of a queue: not those that are leaving."""
    return [
        worker
        for worker in workers
        if worker.state != "draining" and (not worker.queues or queue in worker.queues)
    ]


def problems(storage: Storage, place: Place, max_age_s: float | None, now: int) -> list[str]:
    """Name what is wrong: jobs that wait in vain or too long, that cannot be ended, no writing."""
    found = []
    workers = roster.workers(storage, place)
    runnable = storage.runnable(now)
    for queue in sorted(runnable):
        if not serving(workers, queue):
            found.append(f"jobs wait in queue {queue} and no worker serves it")
    found += [
        f"job {job_id} needs {slots} slots and queue {queue} has {limit}: "
        "it never runs, nor does what is behind it"
        for job_id, slots, queue, limit in storage.misfits()
    ]
    age_s = max(0, now - min(runnable.values(), default=now)) / 1000
    if max_age_s is not None and age_s > max_age_s:
        found.append(f"the oldest runnable job has waited {length(age_s)}")
    found += [f"job {job.id}: {job.stuck}" for job in storage.processing() if job.stuck]
    try:
        storage.check_writable()
    except QueueError as error:
        found.append(f"the database cannot be written: {error.message}")
    return found
