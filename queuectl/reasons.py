"""The one reason why a job is where it is, and when it is expected to run.

The questions are asked in the order in which they keep a job from running: what answers first is
the reason; all that comes later would not let it run any sooner.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from queuectl import health
from queuectl.errors import Full
from queuectl.render import length, stamp, status_text
from queuectl.worker import roster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.job import Job, Run
    from queuectl.place import Place
    from queuectl.storage import Storage

SCANT_BYTES = 1 << 20  # with less room than this, it is worth trying whether a write works
SHOWN = 5


@dataclass(frozen=True)
class Why:
    """Why a job is where it is. `reason` is one word; `expected_at` in ms, None: unknown."""

    job: Job
    reason: str
    explanation: str
    blocked_by: tuple[str, ...] = ()
    expected_at: int | None = None

    def as_json(self) -> dict[str, object]:
        """Give the `why` object of the contract."""
        return {
            "id": self.job.id,
            "state": self.job.state,
            "reason": self.reason,
            "explanation": self.explanation,
            "blocked_by": list(self.blocked_by),
            "expected_at": stamp(self.expected_at),
        }


def why(storage: Storage, place: Place, job: Job, now: int) -> Why:
    """Say why a job waits, what it is doing, or why it ended as it did."""
    if job.state == "processing":
        return _processing(storage, place, job, now)
    if job.finished_at is not None:
        return _ended(storage, job)
    for ask in (_kept, _timed, _queue_closed, _unserved, _disk_full, _limited):
        if found := ask(storage, place, job, now):
            return found
    return _turn(storage, place, job, now)


def _kept(storage: Storage, _place: Place, job: Job, _now: int) -> Why | None:
    """Ask whether it waits for a person or for other jobs."""
    if job.held:
        return Why(job, "held", f"it is held. To release it: queuectl release {job.id}")
    if not job.waits:
        return None
    parents = [(name, state) for name, state, needs in storage.parents(job) if needs != "broken"]
    told = _some([f"{name} ({state})" for name, state in parents])
    names = tuple(name for name, _ in parents)
    return Why(job, "blocked", f"it waits for the end of job {told}", names)


def _timed(_storage: Storage, _place: Place, job: Job, now: int) -> Why | None:
    """Ask whether its time has not come yet."""
    if job.run_at <= now:
        return None
    left = length((job.run_at - now) / 1000)
    if job.state == "failed":
        ended = status_text(job.exit_code, job.signal, job.error)
        text = f"attempt {job.attempts} of {job.max_retries + 1} failed ({ended}); again in {left}"
        return Why(job, "backoff", text, expected_at=job.run_at)
    return Why(job, "scheduled", f"its time has not come: in {left}", expected_at=job.run_at)


def _queue_closed(storage: Storage, _place: Place, job: Job, now: int) -> Why | None:
    """Ask whether nothing of its queue is started at all."""
    limits = storage.limits_of(job, now)
    if limits["paused"]:
        text = f"queue {job.queue} is paused. To resume it: queuectl queue resume {job.queue}"
        return Why(job, "paused", text)
    concurrency: int | None = limits["concurrency"]  # type: ignore[assignment]
    if concurrency is not None and concurrency < job.slots:
        text = f"it needs {job.slots} slots and queue {job.queue} has {concurrency}: it never fits"
        return Why(job, "misfit", text)
    return None


def _unserved(storage: Storage, place: Place, job: Job, _now: int) -> Why | None:
    """Ask whether there is a worker that would take it."""
    workers = roster.workers(storage, place)
    serving = health.serving(workers, job.queue)
    if not serving:
        more = f"; {len(workers)} are draining or serve other queues" if workers else ""
        text = f"no worker serves queue {job.queue}{more}. Start one: queuectl worker start"
        return Why(job, "unserved", text)
    if all(worker.state == "stopped" for worker in serving):
        pids = _some([str(worker.pid) for worker in serving])
        return Why(job, "stopped", f"its workers are stopped by a signal (pid {pids})")
    return None


def _disk_full(storage: Storage, place: Place, job: Job, _now: int) -> Why | None:
    """Ask whether a worker could not even record that it starts it."""
    room = os.statvfs(place.state)
    if room.f_bavail * room.f_frsize >= SCANT_BYTES:
        return None
    try:
        storage.check_writable()
    except Full:
        text = f"the disk that holds {place.db} is full: no start can be recorded"
        return Why(job, "disk_full", text)
    return None


def _limited(storage: Storage, _place: Place, job: Job, now: int) -> Why | None:
    """Ask whether its queue has no room, or has had its starts."""
    limits = storage.limits_of(job, now)
    concurrency: int | None = limits["concurrency"]  # type: ignore[assignment]
    taken: int = limits["taken"]  # type: ignore[assignment]
    before = storage.ahead(job, [job.queue])
    behind = f"; {_jobs(before)} of its queue before it" if before else ""
    if concurrency is not None and taken and taken + (1 if before else job.slots) > concurrency:
        holders: list[str] = limits["holders"]  # type: ignore[assignment]
        text = f"queue {job.queue} has {_free(concurrency - taken, concurrency)}: "
        text += f"held by job {_some(holders)}{behind}"
        return Why(job, "limit", text, tuple(holders))
    opens_at: int | None = limits["opens_at"]  # type: ignore[assignment]
    if opens_at is None:
        return None
    text = f"queue {job.queue} has had its {limits['rate']}{behind}"
    return Why(job, "rate", text, expected_at=None if before else opens_at)


def _turn(storage: Storage, place: Place, job: Job, now: int) -> Why:
    """Say who comes before it, and when its turn comes at the present pace."""
    serving = health.serving(roster.workers(storage, place), job.queue)
    of_all = any(not worker.queues for worker in serving)
    queues = [] if of_all else sorted({name for worker in serving for name in worker.queues})
    before = storage.ahead(job, queues)
    idle = sum(worker.state == "idle" for worker in serving)
    if not before and idle:
        return Why(job, "due", "it is about to be started", expected_at=now)
    pace = storage.pace(now, queues)
    found = Why(job, "turn", f"{_jobs(before)} before it")
    if not before:
        busy = "the only worker is" if len(serving) == 1 else f"all {len(serving)} workers are"
        running = tuple(worker.job.id for worker in serving if worker.job)
        found = Why(job, "turn", f"it is the next; {busy} busy", running)
    if pace is None:
        return found
    wait_s = (before + 1) / pace
    text = f"{found.explanation}, in about {length(wait_s)} at {pace * 60:.3g} jobs a minute"
    return replace(found, explanation=text, expected_at=now + round(wait_s * 1000))


def _processing(storage: Storage, place: Place, job: Job, now: int) -> Why:
    """Say what a running job is doing."""
    worker = next((w for w in roster.workers(storage, place) if w.id == job.worker), None)
    since = f"for {length(max(0, now - (job.started_at or now)) / 1000)}"
    if job.stuck:
        text = f"{job.stuck}. To give it up: queuectl cancel --force {job.id}"
        return Why(job, "stuck", text)
    if worker is None:
        return Why(job, "lost", "its worker is gone; the next worker start recovers it")
    if job.cancel_asked_at:
        return Why(job, "ending", "it was cancelled and its processes are being ended")
    if worker.state == "stopped":
        return Why(job, "stopped", f"its worker is stopped by a signal (pid {worker.pid})")
    limit = f"; it may take {length(job.timeout_s)}" if job.timeout_s else ""
    return Why(job, "running", f"it has been running {since} in worker {worker.pid}{limit}")


def _ended(storage: Storage, job: Job) -> Why:
    """Say why a job ended as it did."""
    run = next((run for run in reversed(storage.runs(job)) if run.outcome), None)
    if job.state == "completed":
        took = f" in {length(job.duration_s)}" if job.duration_s is not None else ""
        return Why(job, "succeeded", f"it ended with exit status 0{took}")
    if job.state == "dead":
        return _dead(job, run)
    broken = [(name, state) for name, state, needs in storage.parents(job) if needs == "broken"]
    if broken:
        told = _some([f"{name} ({state})" for name, state in broken])
        names = tuple(name for name, _ in broken)
        return Why(job, "parent", f"it was cancelled with job {told}, which it waited for", names)
    if job.error and "expired" in job.error:
        return Why(job, "expired", f"it {job.error}")
    more = f": {job.error}" if job.error else ""
    when = "while it ran" if run and run.outcome == "cancelled" else "before it ran again"
    return Why(job, "cancelled", f"it was cancelled {when if job.run else 'before it ran'}{more}")


def _dead(job: Job, run: Run | None) -> Why:
    ended = status_text(job.exit_code, job.signal, job.error)
    reason = run.outcome if run and run.outcome else "failed"
    if reason == "failed" and job.exit_code in job.final_exit_codes:
        rest = f"exit code {job.exit_code} is one that it is not retried on"
    else:
        rest = f"that was attempt {job.attempts} of {job.max_retries + 1}"
    return Why(job, reason, f"its last run ended with {ended}; {rest}")


def _jobs(count: int) -> str:
    from queuectl.storage.views import AHEAD_LIMIT

    if count >= AHEAD_LIMIT:
        return f"more than {AHEAD_LIMIT} jobs are"
    return "1 job is" if count == 1 else f"{count} jobs are"


def _free(free: int, slots: int) -> str:
    return f"no free slot of {slots}" if free <= 0 else f"only {free} of {slots} slots free"


def _some(names: list[str]) -> str:
    """List the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
