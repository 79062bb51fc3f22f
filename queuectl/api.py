"""Queue: what the product can do. The command line, the dashboard and Python users call it.

    queue = Queue()                       # ~/.queuectl.db, or QUEUECTL_DB
    job_id = queue.enqueue("make test", max_retries=1, timeout="10m")
    print(queue.job(job_id).state)

Every method raises the errors of `queuectl.errors`. Instants are ms since 1970 (UTC), lengths
are seconds.
"""

from __future__ import annotations

from queuectl import config, logs, spec, wake
from queuectl.place import Place
from queuectl.storage import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queuectl.job import Job, Run
    from queuectl.worker import roster

PURGE_STEP = 500  # jobs deleted in one transaction, so that nobody waits long


class Queue:
    """One queue: a database file and what belongs to it. Opened at first use."""

    def __init__(self, path: str | None = None) -> None:
        """Take the queue at `path`, else at QUEUECTL_DB, else in the home directory."""
        self.place = Place(config.database_path(path))
        self._storage: Storage | None = None

    @property
    def storage(self) -> Storage:
        """The open file."""
        if self._storage is None:
            self._storage = Storage(self.place)
        return self._storage

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
        return self.insert([spec.check(asked, lambda key: key)])[0]

    def insert(self, asked: Sequence[Mapping[str, object]]) -> list[str]:
        """Store jobs whose options have been checked, all or none; give their ids in order."""
        settings = self.storage.settings()
        now = spec.now_ms()
        rows = [spec.complete(options, settings, None, now) for options in asked]
        ids = self.storage.insert(rows, now)
        for row in rows:
            wake.ring_idle(self.place, str(row["queue"]))
        return ids

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

    def counts(self) -> dict[str, int]:
        """Count the jobs in each state, zeros too."""
        from queuectl.lifecycle import State

        return {str(state): 0 for state in State} | self.storage.tally()

    # -- changing ----------------------------------------------------------------------------

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job, or ask its worker to end a running one; give it as it then is.

        Raises NotFound, Conflict.
        """
        job = self.storage.cancel(job_id, spec.now_ms())
        if job.cancel_asked_at:
            wake.ring_all(self.place)
        return job

    def purge(self, job_id: str) -> str:
        """Delete a dead job and its log. Raises NotFound, Conflict."""
        job = self.storage.delete(job_id, ("dead",))
        logs.remove(self.place, job)
        return job.id

    def purge_dead(self, before: int | None = None) -> int:
        """Delete the jobs that died before an instant, with their logs; give how many."""
        count = 0
        while gone := self.storage.delete_ended(("dead",), before, PURGE_STEP):
            for job in gone:
                logs.remove(self.place, job)
            count += len(gone)
        return count

    def count_dead(self, before: int | None = None) -> int:
        """Count the jobs that died before an instant."""
        return self.storage.count_ended(("dead",), before)

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

    # -- workers -----------------------------------------------------------------------------

    def workers(self) -> list[roster.Worker]:
        """List the living workers, each with what it runs."""
        from queuectl.worker import roster

        return roster.workers(self.storage, self.place)

    def is_served(self, queue: str) -> bool:
        """Say whether a living worker takes jobs of this queue."""
        return any(not w.queues or queue in w.queues for w in self.workers())

    def start_workers(self, count: int = 1, queues: str | None = None) -> None:
        """Start a pool in the background; return when its workers are up.

        `queues` is a comma list. Raises QueueError where they do not come up.
        """
        from queuectl.worker.pool import launch

        self.close()  # a connection must not cross a fork
        launch(self.place, count, queues)

    def run_workers(
        self, count: int, queues: str | None, up: Callable[[str], None] = lambda text: None
    ) -> int:
        """Run a pool in this process until it is stopped; give the exit status."""
        from queuectl.worker.pool import supervise

        self.close()
        return supervise(self.place, count, queues, background=False, up=up)

    def stop_workers(
        self, after_s: float | None = None, wait: bool = True
    ) -> tuple[int, list[int]]:
        """Stop every worker; after `after_s` seconds their jobs are ended (None: never).

        Gives how many were asked and the pids of those that did not stop.
        """
        from queuectl.worker import roster

        return roster.stop_all(self.storage, self.place, after_s=after_s, wait=wait)

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
