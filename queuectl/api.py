"""Queue: what the product can do. The command line, the dashboard and Python users call it.

    queue = Queue()                       # ~/.queuectl.db, or QUEUECTL_DB
    job_id = queue.enqueue("make test", max_retries=1, timeout="10m")
    print(queue.job(job_id).state)

Every method raises the errors of `queuectl.errors`. Instants are ms since 1970 (UTC), lengths
are seconds.
"""

from __future__ import annotations

from queuectl import config, spec, wake
from queuectl.errors import NotFound, QueueError
from queuectl.later import Later
from queuectl.place import Place
from queuectl.storage import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from queuectl import logs
    from queuectl.causes import Cause
    from queuectl.checkup import Finding
    from queuectl.figures import Stats
    from queuectl.health import Status
    from queuectl.job import Job, Run
    from queuectl.reasons import Why
    from queuectl.schedules import Schedules
    from queuectl.storage import absent
    from queuectl.worker import roster
else:
    logs, absent = Later("queuectl.logs"), Later("queuectl.storage.absent")

PRUNE_STEP = 500  # jobs deleted in one transaction, so that nobody waits long


class Queue:
    """One queue: a database file and what belongs to it. Opened at first use."""

    def __init__(self, path: str | None = None, *, create: bool = True) -> None:
        """Take the queue at `path`, else at QUEUECTL_DB, else in the home directory.

        Without `create` one that does not exist is empty, and nothing is made.
        """
        self.place = Place(config.database_path(path))
        self._create = create
        self._storage: Storage | None = None

    @property
    def storage(self) -> Storage:
        """The open file."""
        if self._storage and self._storage.is_absent and not self.place.is_empty():
            self.close()  # somebody has made it meanwhile
        if self._storage is None:
            made = Storage if self._create or not self.place.is_empty() else absent.Absent
            self._storage = made(self.place)
        return self._storage

    @property
    def schedules(self) -> Schedules:
        """The recurring jobs: `queue.schedules.add("nightly", "make", cron="0 3 * * *")`."""
        from queuectl.schedules import Schedules

        return Schedules(self.place, self.storage)

    def close(self) -> None:
        """Let the file go; the next call opens it again. Needed before a fork."""
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    # -- putting in --------------------------------------------------------------------------

    def enqueue(self, command: str | None = None, **options: object) -> str:
        """Store a job and give its id, once it is safe on disk.

        `command` is a line for the shell; `argv=[…]` runs a program without one. Options are
        those of `queuectl enqueue`, with `_` for `-`. Raises UsageError, Conflict.
        """
        asked = options if command is None else {"command": command, **options}
        return self.insert([spec.check(asked, lambda key: key)])[0][0]

    def insert(self, asked: Sequence[Mapping[str, object]]) -> list[tuple[str, bool]]:
        """Store jobs whose options have been checked, all or none.

        Gives for each its id; with False where an unfinished job has its unique key, whose id it
        then is.
        """
        settings = self.storage.settings()
        now = spec.now_ms()
        rows = [spec.complete(options, settings, now) for options in asked]
        stored = self.storage.insert(rows, now)
        fresh: dict[str, int] = {}
        for row in rows:
            fresh[str(row["queue"])] = fresh.get(str(row["queue"]), 0) + 1
        for queue, jobs in fresh.items():
            wake.ring_idle(self.place, queue, jobs)
        return stored

    def insert_file(
        self,
        name: str,
        defaults: Mapping[str, object],
        progress: Callable[[int], None] = lambda line: None,
    ) -> list[tuple[str, bool]]:
        """Store a job for each line of a file ("-": standard input), all or none.

        `defaults` are checked options for all; `progress` is told the line now and then. Gives
        what `insert` gives. Raises UsageError and others that name FILE:LINE.
        """
        from queuectl.bulk import JobFile

        settings = self.storage.settings()
        file = JobFile(name, progress)
        try:
            count = file.check(defaults, settings)
            now = spec.now_ms()
            stored = self.storage.insert(file.rows(defaults, settings, now), now)
        except QueueError as error:
            raise (error if f":{file.line}: " in error.message else file.located(error)) from None
        finally:
            file.close()
        if count:
            wake.ring_all(self.place)
        return stored

    # -- looking -----------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """Give a job. Raises NotFound."""
        return self.storage.job(job_id)

    def runs(self, job: Job) -> list[Run]:
        """Give every run of a job, oldest first."""
        return self.storage.runs(job)

    def jobs(self, limit: int | None = None, **filters: object) -> list[Job]:
        """List jobs: processing, then what runs next, then what ended last.

        Filters: state, queue, label, since (ms).
        """
        return self.storage.select(filters, limit)

    def ids(self, limit: int | None = None, **filters: object) -> list[str]:
        """List the ids of the jobs that `jobs` lists."""
        return self.storage.select_ids(filters, limit)

    def counts(self) -> dict[str, int]:
        """Count the jobs in each state, zeros too."""
        from queuectl.lifecycle import State

        return {str(state): 0 for state in State} | self.storage.tally()

    def why(self, job_id: str) -> Why:
        """Say why a job waits, what it does or why it ended as it did. Raises NotFound."""
        from queuectl.reasons import why

        return why(self.storage, self.place, self.job(job_id), spec.now_ms())

    def stats(self, since: int | None = None) -> Stats:
        """Add up what the jobs that ended since an instant (ms; None: ever) came to."""
        from queuectl.figures import add_up

        return add_up(self.storage.ended_since(since))

    def status(self) -> Status:
        """Give the counts, the workers, the oldest wait and the pace of the whole queue."""
        from queuectl import health

        return health.status(self.storage, self.place, self.counts(), spec.now_ms())

    def problems(self, max_age_s: float | None = None) -> list[str]:
        """Name what is wrong; the empty list where jobs run, in time, and can be recorded."""
        from queuectl import health

        return health.problems(self.storage, self.place, max_age_s, spec.now_ms())

    def last_started(self) -> Job:
        """Give the job that was started last. Raises NotFound."""
        job = self.storage.last_started()
        if job is None:
            raise NotFound("no job has been started yet", "To see what waits: queuectl list")
        return job

    def log_part(self, job: Job, run: int) -> tuple[int, int | None]:
        """Give where a run's output lies in the job's log; None: to the end. Raises NotFound."""
        before = 0
        for found in self.runs(job):
            if found.run != run:
                before = found.log_end or before
                continue
            if found.log_start is not None:
                return found.log_start, found.log_end
            if found.outcome is not None:
                return before, before  # it never had a log
            from queuectl.worker import roster

            noted = roster.log_start(self.storage, self.place, found)
            return before if noted is None else noted, None
        raise NotFound(f"job {job.id} has no run {run}: it was started {job.run} times")

    def follow_log(
        self, job: Job, start: int, only: int | None, pause: Callable[[], None]
    ) -> Iterator[bytes]:
        """Give a job's log from `start` on, until the job (or this one run) has ended."""
        from queuectl.following import follow

        return follow(self.storage, self.place, job, start, only, pause)

    # -- changing ----------------------------------------------------------------------------

    def cancel(self, job_id: str, *, force: bool = False) -> Job:
        """Cancel a job and give it as it then is; a running one is ended first, tree and all.

        `force` gives up on a process that cannot be ended. Raises NotFound, Conflict, QueueError.
        """
        from queuectl.worker import ending

        job = self.storage.cancel(job_id, spec.now_ms())
        wake.ring_all(self.place)
        if job.cancel_asked_at:
            job = ending.wait_cancelled(self.storage, self.place, job, force=force)
        wake.ring_waiting(self.place)
        return job

    def hold(self, job_id: str) -> bool:
        """Keep a waiting job from being started; False where it is held already."""
        return self.storage.hold(job_id, spec.now_ms())

    def release(self, job_id: str, *, at_once: bool = False) -> bool:
        """Lift a hold; `at_once` also drops a delay or a backoff. False where nothing held it."""
        job, happened = self.storage.release(job_id, spec.now_ms(), at_once=at_once)
        wake.ring_idle(self.place, job.queue)
        return happened

    def edit(self, job_id: str, **changes: object) -> Job:
        """Change the priority, queue or label of a waiting job; give it as it then is."""
        checked = spec.check(changes, lambda key: key)
        job = self.storage.edit(job_id, checked, spec.now_ms())
        wake.ring_idle(self.place, job.queue)
        return job

    def rerun(self, job_id: str) -> str:
        """Enqueue what a job did once more, as a new job; give its id."""
        fresh = self.storage.rerun(job_id, spec.now_ms())
        wake.ring_idle(self.place, self.job(fresh).queue)
        return fresh

    def wait(
        self, jobs: Sequence[Job], timeout_s: float | None = None
    ) -> Iterator[tuple[Job, bool]]:
        """Give each job when it ends, with True; after the timeout the rest, with False."""
        from queuectl.waiting import wait

        return wait(self.storage, self.place, jobs, timeout_s)

    def prune(self, job_id: str, states: Sequence[str], *, dry_run: bool = False) -> str:
        """Delete a job that has ended in one of these states, and its log.

        Raises NotFound, Conflict; a dry run does that and no more.
        """
        job = self.storage.delete(job_id, states, dry_run=dry_run)
        if not dry_run:
            logs.remove(self.place, job)
        return job.id

    def prune_ended(
        self,
        states: Sequence[str],
        before: int | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> int:
        """Delete the jobs that ended in these states before an instant, with their logs.

        In steps, so that nobody waits for long. `progress` is told the count so far.
        """
        count = 0
        while gone := self.storage.delete_ended(states, before, PRUNE_STEP):
            for job in gone:
                logs.remove(self.place, job)
            count += len(gone)
            progress(count)
        return count

    def count_ended(self, states: Sequence[str], before: int | None = None) -> int:
        """Count the jobs that ended in these states before an instant."""
        return self.storage.count_ended(states, before)

    def retry(self, *job_ids: str, queue: str | None = None) -> list[Job]:
        """Put dead jobs back in line with attempts 0: these, or all (of a queue).

        Raises NotFound and Conflict for the first one that is not dead.
        """
        now = spec.now_ms()
        if not job_ids:
            found = self.storage.retry((), queue, now)
        else:
            found = [job for job_id in job_ids for job in self.storage.retry([job_id], None, now)]
        for job in found:
            wake.ring_idle(self.place, job.queue)
        return found

    def causes(self, queue: str | None = None) -> list[Cause]:
        """Put the dead jobs (of a queue) that died alike together; the largest group first."""
        from queuectl.causes import group

        dead = self.jobs(state="dead", queue=queue)
        return group((job, logs.last_line(self.place.log(job.id))) for job in dead)

    # -- queues ------------------------------------------------------------------------------

    def queues(self) -> list[Mapping[str, object]]:
        """List the known queues: name, paused, concurrency, slots, rate, counts by state."""
        return self.storage.queues()

    def limit(self, queue: str, slots: Sequence[str] | None) -> list[tuple[str, int]]:
        """Name the slots of a queue, its concurrency; None: no limit. Give what never fits now."""
        never_fit = self.storage.set_slots(queue, slots)
        wake.ring_all(self.place)
        return never_fit

    def limit_rate(self, queue: str, starts: int | None, window_s: float | None) -> None:
        """Allow at most so many starts in any window of so many seconds; None lifts the limit."""
        window_ms = None if window_s is None else round(window_s * 1000)
        self.storage.set_rate(queue, starts, window_ms, spec.now_ms())
        wake.ring_all(self.place)

    def pause(self, queue: str | None = None) -> list[str]:
        """Start no more jobs of a queue (None: of any, now or later); name those that changed."""
        return self.storage.set_paused(queue, True)

    def resume(self, queue: str | None = None) -> list[str]:
        """Start jobs of a queue again; name the queues that changed."""
        changed = self.storage.set_paused(queue, False)
        wake.ring_all(self.place)
        return changed

    def own_job(self) -> str | None:
        """Give the id of the job of this queue that this very process is part of, or None."""
        return config.inside_job() if config.inside_queue(self.place.db) else None

    # -- workers -----------------------------------------------------------------------------

    def workers(self) -> list[roster.Worker]:
        """List the living workers, each with what it runs."""
        from queuectl.worker import roster

        return roster.workers(self.storage, self.place)

    def is_served(self, queue: str) -> bool:
        """Say whether a living worker takes jobs of this queue."""
        return wake.is_served(self.place, queue)

    def start_workers(self, count: int = 1, queues: str | None = None) -> None:
        """Start a pool in the background; return when its workers are up.

        `queues` is a comma list. Raises QueueError where they do not come up.
        """
        from queuectl.worker.pool import launch
        from queuectl.worker.shift import Shift

        self.close()  # a connection must not cross a fork
        launch(self.place, Shift(count, queues, background=True))

    def run_workers(
        self,
        count: int = 1,
        queues: str | None = None,
        *,
        burst: bool = False,
        for_s: float | None = None,
        max_jobs: int | None = None,
        up: Callable[[str], None] = lambda text: None,
    ) -> int:
        """Run a pool in this process; give the exit status (4: a job ended dead or cancelled).

        Until it is stopped, nothing is left to do (`burst`), the time is up or so many jobs have
        been started.
        """
        from queuectl.worker.pool import supervise
        from queuectl.worker.shift import Shift

        self.close()
        shift = Shift(count, queues, burst=burst, for_s=for_s, max_jobs=max_jobs)
        return supervise(self.place, shift, up)

    def scale_workers(self, count: int, queues: str | None = None) -> tuple[int, int]:
        """Set the background workers of a queue list to exactly so many; give before and after."""
        from queuectl.worker import roster

        with roster.scaling(self.place):
            have, surplus = roster.surplus(self.storage, self.place, count, queues)
            if surplus:
                self.storage.stop_workers(surplus)
                wake.ring_all(self.place)
            elif have < count:
                self.start_workers(count - have, queues)
        return have, count

    def stop_workers(
        self,
        after_s: float | None = None,
        wait: bool = True,
        progress: roster.Progress = lambda left, stopped: None,
    ) -> tuple[int, list[int]]:
        """Stop every worker; after `after_s` seconds their jobs are ended (None: never).

        Gives how many were asked and the pids of those that did not stop; `progress` is told who
        is left, and the pids of those that a signal has stopped.
        """
        from queuectl.worker import roster

        return roster.stop_all(
            self.storage, self.place, after_s=after_s, wait=wait, progress=progress
        )

    # -- the file itself ----------------------------------------------------------------------

    def backup(self, target: str, progress: Callable[[float], None] = lambda part: None) -> int:
        """Write a consistent copy of the database while everything runs; give its bytes.

        `progress` is told the part that is done, 0 to 1. Raises Conflict where the target exists.
        """
        return self.storage.backup(target, progress)

    def examine(self) -> list[Finding]:
        """Look the installation, the file and the machine over."""
        from queuectl.checkup import examine

        return examine(lambda: self.storage, self.place)

    # -- configuration -----------------------------------------------------------------------

    def set(self, key: str, value: str) -> None:
        """Store a setting. Raises UsageError."""
        known = config.known_key(key)
        config.read(known, value, known)
        self.storage.set_setting(known, value)

    def unset(self, key: str) -> bool:
        """Remove a stored setting; say whether there was one."""
        return self.storage.unset_setting(config.known_key(key))

    def check_settings(self) -> None:
        """Raise UsageError where a stored or inherited setting is wrong."""
        stored = self.storage.settings()
        for key in config.SETTINGS:
            config.resolve(key, stored)
