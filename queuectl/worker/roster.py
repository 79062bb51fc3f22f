"""Who works at this moment, as a person sees it, and how to make them stop."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass

from queuectl import wake
from queuectl.render import stamp
from queuectl.spec import now_ms
from queuectl.worker import alive, tree, upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from queuectl.job import Job, PoolRecord, Run, WorkerRecord
    from queuectl.place import Place
    from queuectl.storage import Storage

    Progress = Callable[[Sequence["Worker"], Sequence[int]], None]

LOOK_S = 0.05
# What a stop that ends jobs may take beyond the grace, before it is said to have failed.
PATIENCE_S = 15.0


@dataclass(frozen=True)
class Worker:
    """A living worker. `state`: idle, busy, draining, stopped (by a signal)."""

    id: int
    pid: int
    pool: int
    state: str
    queues: tuple[str, ...]
    job: Job | None
    started_at: int
    background: bool

    def as_json(self) -> dict[str, object]:
        """Give the worker object of the contract."""
        return {
            "pid": self.pid,
            "state": self.state,
            "queues": list(self.queues),
            "job": self.job.id if self.job else None,
            "started_at": stamp(self.started_at),
            "id": str(self.id),
            "pool": str(self.pool),
            "background": self.background,
        }


def workers(storage: Storage, place: Place) -> list[Worker]:
    """List the workers that live."""
    pools = {pool.id: pool for pool in storage.pools()}
    jobs = {job.worker: job for job in storage.processing()}
    return [
        _seen(record, jobs.get(record.id), pools.get(record.pool))
        for record in storage.workers()
        if alive.is_alive(place, record)
    ]


def log_start(storage: Storage, place: Place, run: Run) -> int | None:
    """Give where the output of a run that is going on begins in its log; None: nobody knows."""
    for record in storage.workers():
        if record.id == run.worker:
            return alive.noted_log_start(place, record, run.run)
    return None


@contextmanager
def scaling(place: Place) -> Iterator[None]:
    """Be the only one that scales: ten crons may say so at once."""
    with alive.alone(place, "scale"):
        yield


def surplus(
    storage: Storage, place: Place, count: int, queues: str | None
) -> tuple[int, list[int]]:
    """Count the background workers of this very queue list, and name those above `count`.

    Idle ones go first.
    """
    wanted = tuple(queues.split(",")) if queues else ()
    have = [
        worker
        for worker in workers(storage, place)
        if worker.background and worker.queues == wanted and worker.state != "draining"
    ]
    have.sort(key=lambda worker: worker.job is not None)
    return len(have), [worker.id for worker in have[: max(0, len(have) - count)]]


def _seen(record: WorkerRecord, job: Job | None, pool: PoolRecord | None) -> Worker:
    if _is_stopped(record.pid):
        state = "stopped"
    elif record.stop:
        state = "draining"
    else:
        state = "busy" if job else "idle"
    return Worker(
        id=record.id,
        pid=record.pid,
        pool=record.pool,
        state=state,
        queues=tuple(record.queues.split(",")) if record.queues else (),
        job=job,
        started_at=record.started_at,
        background=bool(pool and pool.background),
    )


def _is_stopped(pid: int) -> bool:
    process = tree.look(pid) if tree.LINUX else None
    return process is not None and process.state in "tT"


def stop_all(
    storage: Storage,
    place: Place,
    *,
    after_s: float | None,
    wait: bool,
    progress: Progress = lambda left, stopped: None,
) -> tuple[int, list[int]]:
    """Order everybody to stop, and wait until they are gone.

    After `after_s` seconds jobs are ended (None: never). Gives how many workers were asked, and
    the pids of those that are still there. What dead pools left is seen to as well. `progress` is
    told now and then who is left, and the pids of those that a signal has stopped.
    """
    now = now_ms()
    there = workers(storage, place)
    level = 2 if after_s == 0 else 1
    stop_by = None if after_s is None else now + round(after_s * 1000)
    storage.order_stop(level, stop_by)
    wake.ring_all(place)
    if wait:
        _wait(storage, place, after_s, progress)
        upkeep.recover_orphans(storage, place)
    mine = {worker.pid for worker in there}
    left = [worker.pid for worker in workers(storage, place) if worker.pid in mine]
    return len(there), left


def _wait(storage: Storage, place: Place, after_s: float | None, progress: Progress) -> None:
    """Wait for the pools that are there now; without a deadline, as long as it takes."""
    pools = storage.pools()
    deadline = None
    if after_s is not None:
        grace_s = PATIENCE_S + upkeep.longest_grace(storage)
        deadline = time.monotonic() + after_s + grace_s
    while there := [pool for pool in pools if _lives(storage, place, pool)]:
        if deadline is not None and time.monotonic() > deadline:
            return
        left = workers(storage, place)
        pids = [worker.pid for worker in left] + [pool.pid for pool in there]
        progress(left, [pid for pid in pids if _is_stopped(pid)])
        time.sleep(LOOK_S)


def _lives(storage: Storage, place: Place, pool: PoolRecord) -> bool:
    """Say whether a pool has anybody left: its supervisor, or a worker that outlived it."""
    if alive.is_alive(place, pool):
        return True
    return any(alive.is_alive(place, worker) for worker in storage.workers(pool.id))
