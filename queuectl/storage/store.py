"""Storage: what the queue can record, one transaction a verb.

The SQL is in the modules beside this one. `now` is an argument, in ms since 1970. Every verb
that changes a job's state is guarded by that state (and by `run`, where a worker speaks) and says
whether it happened.
"""

from __future__ import annotations

from queuectl.errors import Conflict, NotFound
from queuectl.later import Later
from queuectl.storage import jobs
from queuectl.storage.sqlite import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from queuectl.job import Job, PoolRecord, Run, WorkerRecord
    from queuectl.lifecycle import Outcome, Verdict
    from queuectl.place import Place
    from queuectl.storage import ballast, copy, fleet, graph, limits, listing, schedules, views
else:
    ballast, copy, fleet, graph, limits, schedules, views = (
        Later(f"queuectl.storage.{name}")
        for name in ("ballast", "copy", "fleet", "graph", "limits", "schedules", "views")
    )
    listing = Later("queuectl.storage.listing")


class Storage:
    """An open queue file. Not for use across a fork: close it before, open another after."""

    is_absent = False

    def __init__(self, place: Place, *, flushed_later: bool = False) -> None:
        """Open the file at a place; with `flushed_later` it is for the caller to `flush`."""
        self._at = Connection(place, flushed_later)

    @property
    def recurring(self) -> schedules.Schedules:
        """What is recorded of schedules."""
        return schedules.Schedules(self._at)

    def close(self) -> None:
        """Let the file go."""
        self._at.close()

    def changes(self) -> int:
        """Give a number that changes when another connection has changed the file."""
        return self._at.changes()

    def flush(self) -> None:
        """Make what was recorded safe from a power cut. Raises QueueError."""
        self._at.flush()

    def check_same_file(self) -> None:
        """Raise Gone where the database was removed or replaced under us."""
        self._at.check_same_file()

    # -- what people do to jobs ------------------------------------------------------------

    def insert(self, rows: Iterable[Mapping[str, object]], now: int) -> list[tuple[str, bool]]:
        """Store jobs, all or none; give for each its id, and False where an unfinished job with
        its unique key is there already: that one's id then.

        Raises Conflict where an id is taken, NotFound and UsageError for its parents and slots.
        """
        with self._at.write() as db:
            return jobs.insert(db, rows, now)

    def cancel(self, job_id: str, now: int) -> Job:
        """Cancel a waiting job, or ask for the end of a running one; give it as it then is."""
        with self._at.write() as db:
            job = _known(db, job_id)
            if not jobs.cancel(db, job, now):
                raise Conflict(f"job {job_id} is {job.state}, so it cannot be cancelled")
            return _known(db, job_id)

    def retry(self, job_ids: Sequence[str], queue: str | None, now: int) -> list[Job]:
        """Put dead jobs back in line with attempts 0: the named ones, or all (of a queue)."""
        with self._at.write() as db:
            if not job_ids:
                return [job for job in views.dead(db, queue) if jobs.retry(db, job, now)]
            job = _known(db, job_ids[0])
            if not jobs.retry(db, job, now):
                raise Conflict(f"job {job.id} is {job.state}, not dead", _run_again(job))
            return [job]

    def hold(self, job_id: str, now: int) -> bool:
        """Hold a waiting job; False where it is held already."""
        with self._at.write() as db:
            job = _waiting(db, job_id, "held")
            return jobs.hold(db, job, now)

    def release(self, job_id: str, now: int, *, at_once: bool) -> tuple[Job, bool]:
        """Lift a hold (`at_once`: a delay or backoff, too); False where nothing held it."""
        with self._at.write() as db:
            job = _waiting(db, job_id, "released")
            return job, jobs.release(db, job, now, at_once=at_once)

    def edit(self, job_id: str, changes: Mapping[str, object], now: int) -> Job:
        """Change the priority, queue or label of a waiting job."""
        with self._at.write() as db:
            jobs.edit(db, _waiting(db, job_id, "edited"), changes, now)
            return _known(db, job_id)

    def rerun(self, job_id: str, now: int) -> str:
        """Insert a job that does the same once more; give its id."""
        with self._at.write() as db:
            return jobs.rerun(db, _known(db, job_id), now)

    def give_up(self, job: Job, what: str, now: int) -> bool:
        """Cancel a running job although its processes could not be ended."""
        with self._at.write() as db:
            return jobs.give_up(db, job, what, now)

    def cancelled_children(self, job: Job) -> list[str]:
        """Name the jobs that were cancelled because this one ended badly."""
        with self._at.read() as db:
            return graph.cancelled_children(db, job.seq)

    def delete(self, job_id: str, states: Sequence[str], *, dry_run: bool = False) -> Job:
        """Delete one job that is in one of these states; a dry run only says if it would."""
        with self._at.write() as db:
            job = _known(db, job_id)
            if not (job.state in states if dry_run else jobs.delete(db, job, states)):
                raise Conflict(f"job {job.id} is {job.state}, not {' or '.join(states)}")
            return job

    def delete_ended(
        self, states: Sequence[str], before: int | None, limit: int, queue: str | None = None
    ) -> list[Job]:
        """Delete up to `limit` jobs that ended before an instant: small steps, short locks."""
        with self._at.write() as db:
            found = views.ended(db, states, before, queue, limit)
            return [job for job in found if jobs.delete(db, job, states)]

    def count_ended(self, states: Sequence[str], before: int | None) -> int:
        """Count the jobs that ended in one of these states before an instant."""
        with self._at.read() as db:
            return views.count_ended(db, states, before)

    # -- queues ------------------------------------------------------------------------------

    def queues(self) -> list[Mapping[str, object]]:
        """List the known queues with their limits and counts."""
        with self._at.read() as db:
            return limits.queues(db)

    def set_slots(self, queue: str, names: Sequence[str] | None) -> list[tuple[str, int]]:
        """Name the slots of a queue, its limit; None lifts it. Give what never fits any more."""
        with self._at.write() as db:
            return limits.set_slots(db, queue, names)

    def set_rate(self, queue: str, starts: int | None, window_ms: int | None, now: int) -> None:
        """Allow at most so many starts in any window of this length; None lifts the limit."""
        with self._at.write() as db:
            limits.set_rate(db, queue, starts, window_ms, now)

    def set_paused(self, queue: str | None, paused: bool) -> list[str]:
        """Pause or resume a queue (None: all, those to come too); name those that changed."""
        with self._at.write() as db:
            return limits.set_paused(db, queue, paused)

    # -- what workers do ---------------------------------------------------------------------

    def claim(self, worker: WorkerRecord, now: int) -> Job | None:
        """Take the job whose turn it is and start a run of it, or give None."""
        with self._at.write() as db:
            return jobs.claim(db, worker.id, _queues(worker), now)

    def finish(
        self, job: Job, outcome: Outcome, verdict: Verdict, now: int, claimant: WorkerRecord | None
    ) -> tuple[bool, list[str], Job | None]:
        """Record how a run ended; with a claimant, claim the next job in the same transaction.

        Says whether the run still was that worker's to record, and names the queues in which
        that lets a job start, once for each.
        """
        with self._at.write() as db:
            happened, opened = jobs.finish(db, job, outcome, verdict, now)
            after = jobs.claim(db, claimant.id, _queues(claimant), now) if claimant else None
            return happened, opened, after

    def owe_hook(self, job: Job) -> None:
        """Note that the hooks of an ended job are to be run."""
        with self._at.write() as db:
            jobs.owe_hook(db, job)

    def pay_hook(self) -> Job | None:
        """Take over the hooks of one ended job, to run them; None where none are owed."""
        with self._at.read() as db:
            if db.execute("SELECT 1 FROM hook_due LIMIT 1").fetchone() is None:
                return None
        with self._at.write() as db:
            return jobs.pay_hook(db)

    def expire(self, now: int) -> bool:
        """Cancel the jobs that were not started in time; say whether there were any."""
        with self._at.read() as db:
            if not jobs.expired(db, now):
                return False
        with self._at.write() as db:
            jobs.expire(db, now)
        return True

    def is_quiet(self, worker: WorkerRecord, now: int) -> bool:
        """Say whether nothing is processing, runnable or backing off in a worker's queues."""
        with self._at.read() as db:
            return views.is_quiet(db, _queues(worker), now)

    def ended_badly(self, since: int, queues: str | None) -> bool:
        """Say whether a job (of a comma list of queues) ended dead or cancelled since then."""
        with self._at.read() as db:
            return views.ended_badly(db, since, queues.split(",") if queues else ())

    def mark_stuck(self, job: Job, what: str | None) -> None:
        """Show (or no longer show) that processes of a lost run cannot be ended."""
        with self._at.write() as db:
            jobs.mark_stuck(db, job, what)

    def outlook(self, worker: WorkerRecord, now: int) -> int | None:
        """Say when there may be something to claim: now, a later instant, or None."""
        with self._at.read() as db:
            return jobs.outlook(db, _queues(worker), now)

    def environment(self, env: int | None) -> bytes:
        """Give a stored environment, K=V separated by NUL."""
        with self._at.read() as db:
            return jobs.environment(db, env)

    def orders(self, worker_id: int, job: Job | None) -> tuple[int, int | None, str]:
        """Tell a worker its stop level, the instant that it rises to 2, and what to do with
        its job: run, cancel or abandon."""
        with self._at.read() as db:
            return fleet.orders(db, worker_id, job)

    def keep_ballast(self) -> None:
        """Keep a small file that can be given up when the disk is full."""
        ballast.keep(self._at.place)

    def release_ballast(self) -> None:
        """Give that file up, so that a result can still be stored."""
        ballast.release(self._at.place)

    # -- who works ---------------------------------------------------------------------------

    def enlist_pool(self, record: Mapping[str, object]) -> PoolRecord:
        """Register a supervisor."""
        with self._at.write() as db:
            return fleet.enlist_pool(db, record)

    def enlist_worker(self, record: Mapping[str, object]) -> WorkerRecord:
        """Register a worker."""
        with self._at.write() as db:
            return fleet.enlist_worker(db, record)

    def discharge_worker(self, worker_id: int) -> None:
        """Forget a worker that is gone; its job, if any, has been seen to before."""
        with self._at.write() as db:
            fleet.discharge_worker(db, worker_id)

    def discharge_pool(self, pool_id: int) -> None:
        """Forget a supervisor that is gone."""
        with self._at.write() as db:
            fleet.discharge_pool(db, pool_id)

    def order_stop(self, level: int, stop_by: int | None) -> None:
        """Tell every pool and worker that is registered now to stop."""
        with self._at.write() as db:
            fleet.order_stop(db, level, stop_by)

    def stop_workers(self, ids: Sequence[int]) -> None:
        """Tell single workers to finish their job and go."""
        with self._at.write() as db:
            fleet.stop_workers(db, ids)

    def pools(self) -> list[PoolRecord]:
        """List the supervisors that registered, alive or not."""
        with self._at.read() as db:
            return fleet.pools(db)

    def workers(self, pool: int | None = None) -> list[WorkerRecord]:
        """List the workers that registered, alive or not (of one pool)."""
        with self._at.read() as db:
            return fleet.workers(db, pool)

    def processing(self, worker_id: int | None = None) -> list[Job]:
        """List the jobs that are being processed (by one worker)."""
        with self._at.read() as db:
            return views.processing(db, worker_id)

    # -- looking -----------------------------------------------------------------------------

    def ended_among(self, seqs: Sequence[int], known: Mapping[int, Job]) -> list[Job]:
        """Give those of these jobs that have ended; a deleted one as it was last known."""
        with self._at.read() as db:
            return views.ended_among(db, seqs, known)

    def unfinished(self, queue: str | None) -> list[Job]:
        """List every job (of a queue) that has not ended."""
        with self._at.read() as db:
            return listing.unfinished(db, queue)

    def job(self, job_id: str) -> Job:
        """Give one job; raises NotFound."""
        with self._at.read() as db:
            return _known(db, job_id)

    def runs(self, job: Job) -> list[Run]:
        """Give every run of a job, oldest first."""
        with self._at.read() as db:
            return views.runs(db, job)

    def last_started(self) -> Job | None:
        """Give the job that was started last."""
        with self._at.read() as db:
            return views.last_started(db)

    def select(self, filters: Mapping[str, object], limit: int | None) -> list[Job]:
        """List jobs: what is processing, then what runs next, then what ended last."""
        with self._at.read() as db:
            return listing.select(db, filters, limit)

    def select_ids(self, filters: Mapping[str, object], limit: int | None) -> list[str]:
        """List the ids of the jobs that `select` lists."""
        with self._at.read() as db:
            return listing.ids(db, filters, limit)

    def tally(self) -> dict[str, int]:
        """Count the jobs in each state."""
        with self._at.read() as db:
            return views.tally(db)

    def runnable(self, now: int) -> dict[str, int]:
        """Give for each open queue with runnable jobs since when the oldest of them waits."""
        with self._at.read() as db:
            return views.runnable(db, now)

    def count_ready(self, queues: Sequence[str]) -> int:
        """Count the runnable jobs of those of these queues (none: all) that are not paused."""
        with self._at.read() as db:
            return views.count_ready(db, queues)

    def misfits(self) -> list[tuple[str, int, str, int]]:
        """Give of the jobs that can never run and hold up their queue what they need and get."""
        with self._at.read() as db:
            return limits.misfits(db)

    def pace(self, now: int, queues: Sequence[str] = ()) -> float | None:
        """Give how many jobs (of these queues) end in a second at present."""
        with self._at.read() as db:
            return views.pace(db, now, queues)

    def ahead(self, job: Job, queues: Sequence[str]) -> int:
        """Count the runnable jobs of these queues (none: all) that come before this one."""
        with self._at.read() as db:
            return views.ahead(db, job, queues)

    def parents(self, job: Job) -> list[tuple[str, str, str]]:
        """List what a job waits for, or fell with: id, state, and what it needs of that one."""
        with self._at.read() as db:
            return views.parents(db, job)

    def limits_of(self, job: Job, now: int) -> dict[str, object]:
        """Give what a job's queue allows at present."""
        with self._at.read() as db:
            return views.limits_of(db, job, now)

    def ended_since(
        self, since: int | None
    ) -> Iterator[tuple[str, str, str, int, int | None, float | None]]:
        """Give the figures of each job that has ended since an instant (None: ever)."""
        with self._at.read() as db:
            yield from views.ended_since(db, since)

    def check_writable(self) -> None:
        """Write something and take it back; raises QueueError where that cannot be done."""
        with self._at.write() as db:
            db.execute("INSERT INTO config VALUES ('', '')")
            db.execute("DELETE FROM config WHERE key = ''")

    def paused_queues(self) -> set[str]:
        """Name the queues that are paused."""
        with self._at.read() as db:
            return views.paused_queues(db)

    # -- the file itself ----------------------------------------------------------------------

    def integrity(self) -> str:
        """Say what is wrong with the file; empty where nothing is."""
        with self._at.read() as db:
            return views.integrity(db)

    engine_version = staticmethod(Connection.engine_version)

    def backup(self, target: str, progress: Callable[[float], None]) -> int:
        """Write a consistent copy of the file; give its bytes."""
        with self._at.read() as db:
            db.execute("SELECT 1 FROM job LIMIT 1").fetchone()  # from here on, nothing changes
            return copy.copy(db, target, progress)

    def ready_queues(self) -> list[str]:
        """Name the queues in which a job could start, if a worker served them."""
        with self._at.read() as db:
            return views.ready_queues(db)

    # -- configuration -----------------------------------------------------------------------

    def settings(self) -> dict[str, str]:
        """Give the stored settings as text."""
        with self._at.read() as db:
            return dict(db.execute("SELECT key, value FROM config"))

    def set_setting(self, key: str, value: str) -> None:
        """Store one setting."""
        with self._at.write() as db:
            db.execute("INSERT OR REPLACE INTO config VALUES (?, ?)", (key, value))

    def unset_setting(self, key: str) -> bool:
        """Remove one setting; say whether it was there."""
        with self._at.write() as db:
            return db.execute("DELETE FROM config WHERE key = ?", (key,)).rowcount > 0


def _known(db: jobs.Db, job_id: str) -> Job:
    job = jobs.find(db, job_id)
    if job is None:
        raise NotFound(f"there is no job {ascii(job_id)[1:-1][:80]}", "To see them: queuectl list")
    return job


def _waiting(db: jobs.Db, job_id: str, done: str) -> Job:
    job = _known(db, job_id)
    if job.state not in ("pending", "failed"):
        raise Conflict(f"job {job.id} is {job.state}; only a job that waits can be {done}")
    return job


def _queues(worker: WorkerRecord) -> tuple[str, ...]:
    return tuple(worker.queues.split(",")) if worker.queues else ()


def _run_again(job: Job) -> str:
    from shlex import quote

    return f"To run it again: queuectl enqueue {quote(job.command)}" if job.finished_at else ""
