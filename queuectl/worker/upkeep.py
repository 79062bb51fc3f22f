"""See to what is nobody's job: what dead workers left, what has expired, what a schedule owes.

What still runs of a lost job is ended, then it is recorded as lost.

A lost worker ends its job in the same two calls as a living one: decide, then finish. While its
supervisor lives, only that one does this, because orphans became the supervisor's children.
"""

from __future__ import annotations

import os

from queuectl import config, logs, recurring, wake
from queuectl.lifecycle import ENDED, Kind, Outcome, State, decide
from queuectl.spec import now_ms
from queuectl.worker import alive, tree, trim
from queuectl.worker.journal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.job import Job, WorkerRecord
    from queuectl.lifecycle import Verdict
    from queuectl.place import Place
    from queuectl.storage import Storage

VANISH_S = 1.0
KEPT_FOR_A_WHILE = (State.COMPLETED, State.CANCELLED)
PRUNE_STEP = 500  # jobs deleted in one transaction, so that nobody waits long


def recover_orphans(storage: Storage, place: Place) -> bool:
    """Recover the workers that are dead and whose supervisor is dead; say whether all could be."""
    complete = True
    dead_pools = [pool for pool in storage.pools() if not alive.is_alive(place, pool)]
    for pool in dead_pools:
        for worker in storage.workers(pool.id):
            if not alive.is_alive(place, worker):
                complete &= recover(storage, place, worker, adopted=list)
        storage.discharge_pool(pool.id)
        if not storage.workers(pool.id):  # else it stays registered, and its lock's file with it
            alive.clear(place, pool)
    return complete


def recover(
    storage: Storage,
    place: Place,
    worker: WorkerRecord,
    adopted: Callable[[], list[tree.Process]],
) -> bool:
    """End what is left of a dead worker's job and put the job back; say whether that was done.

    `adopted` lists the orphans that came to this very process. What cannot be ended is shown on
    the job, which then does not run again.
    """

    def find(job: Job) -> list[tree.Process]:
        return _remains(storage, place, worker, job) + adopted()

    for job in storage.processing(worker.id):
        left = tree.end(lambda job=job: find(job), 0, VANISH_S, looks=3)  # type: ignore[misc]
        if left:
            storage.mark_stuck(job, tree.cannot_be_ended(left))
            return False
        _record(storage, place, worker, job)
    storage.discharge_worker(worker.id)
    alive.clear(place, worker)
    return True


def _record(storage: Storage, place: Place, worker: WorkerRecord, job: Job) -> None:
    now = now_ms()
    kind = Kind.CANCELLED if job.cancel_asked_at else Kind.LOST
    duration_s = max(0, now - (job.started_at or now)) / 1000
    log_start, log_end = _log_part(storage, place, worker, job) or (None, None)
    outcome = Outcome(
        kind, error="worker lost", duration_s=duration_s, log_start=log_start, log_end=log_end
    )
    verdict = decide(job, outcome, now)
    happened, opened, _ = storage.finish(job, outcome, verdict, now, None)
    ring(place, verdict, opened)
    if happened:
        tell(
            place, f"worker {worker.id} (pid {worker.pid}) was lost; job {job.id}: {verdict.state}"
        )


def _log_part(
    storage: Storage, place: Place, worker: WorkerRecord, job: Job
) -> tuple[int, int] | None:
    """Cut a lost run's output to its limit; give its place in the log, None if nobody noted it."""
    start = alive.noted_log_start(place, worker, job.run)
    limit: int = config.resolve("log-max-size", storage.settings())[0]  # type: ignore[assignment]
    return None if start is None else trim.finish_lost(place.log(job.id), start, limit)


def _remains(storage: Storage, place: Place, worker: WorkerRecord, job: Job) -> list[tree.Process]:
    """List what is left of a run, as long as nobody else has recovered it.

    After that its lock file may be gone, and a new one may have got its inode.
    """
    lost = any((each.seq, each.run) == (job.seq, job.run) for each in storage.processing(worker.id))
    if not lost or not tree.LINUX:
        return []
    return tree.remains(
        alive.inherited_lock(place, worker),
        alive.noted_session(place, worker),
        marks(place, job),
        lambda: alive.has_heirs(place, worker),
    )


def ring(place: Place, verdict: Verdict, opened: list[str]) -> None:
    """Wake whoever a recorded end concerns: idle workers, and commands that wait for it."""
    for queue in dict.fromkeys(opened):
        wake.ring_idle(place, queue, opened.count(queue))
    if verdict.state in ENDED:
        wake.ring_waiting(place)


def tidy(storage: Storage, place: Place) -> None:
    """Cancel what has expired, and prune what `keep-completed` no longer keeps."""
    now = now_ms()
    if storage.expire(now):
        wake.ring_waiting(place)
    keep_s = config.resolve("keep-completed", storage.settings())[0]
    if keep_s is not None:
        before = now - round(float(keep_s) * 1000)  # type: ignore[arg-type]
        if storage.count_ended(KEPT_FOR_A_WHILE, before):
            for job in storage.delete_ended(KEPT_FOR_A_WHILE, before, PRUNE_STEP):
                logs.remove(place, job)


def fire_due(storage: Storage, place: Place, told: set[str]) -> int | None:
    """Fire the ticks that are due; give the first instant at which another one will be.

    `told` keeps what has been complained about, so that it is not said every second.
    """
    now = now_ms()
    for schedule in storage.recurring.due(now):
        try:
            tick, fires, next_at = recurring.due(schedule, now)
        except ValueError as error:  # its zone has gone from this machine
            if schedule.name not in told:
                told.add(schedule.name)
                tell(place, f"schedule {schedule.name} cannot fire: --tz {error}")
            continue
        queue, why_not = storage.recurring.fire(schedule, tick if fires else None, next_at, now)
        if queue:
            wake.ring_idle(place, queue)
        elif why_not:
            tell(place, f"schedule {schedule.name} did not fire: {why_not}")
    return storage.recurring.next_tick(now)


def longest_grace(storage: Storage) -> float:
    """Give the seconds that a job may take to hear TERM."""
    return float(config.resolve("kill-grace", storage.settings())[0])  # type: ignore[arg-type]


def marks(place: Place, job: Job) -> list[bytes]:
    """Give the entries of a job's environment that no other run has."""
    return [
        b"QUEUECTL_DB=" + os.fsencode(place.db),
        f"QUEUECTL_JOB_ID={job.id}".encode(),
        f"QUEUECTL_JOB_RUN={job.run}".encode(),
    ]
