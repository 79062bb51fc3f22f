"""One worker: claim a job, run it, record it, claim the next. It knows jobs, not pids."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass

from queuectl import config, logs
from queuectl.errors import Full, Gone, QueueError, Refused
from queuectl.lifecycle import ENDED, Kind, Outcome, decide
from queuectl.spec import now_ms
from queuectl.storage import Storage
from queuectl.wake import Bell, ring_all, ring_idle
from queuectl.worker import hooks, process, tree, trim, upkeep
from queuectl.worker.alive import Seat
from queuectl.worker.journal import tell
from queuectl.worker.signals import DRAIN, END, Ear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.job import Job
    from queuectl.place import Place
    from queuectl.worker.shift import Permits, Shift


@dataclass(frozen=True)
class Post:
    """Where a worker works: the queue's place, its pool, and what that was asked to do."""

    place: Place
    pool_id: int
    shift: Shift
    permits: Permits | None


def work(post: Post, lifeline: int, up: Callable[[], bool]) -> int:
    """Be a worker of this pool until told to stop; give the exit status.

    `lifeline` ends when the supervisor does; `up` is called once we are registered, and says
    whether there is still a supervisor to work for.
    """
    tree.become_subreaper()
    worker = Worker(post, Ear(lifeline))
    try:
        if up():
            worker.work()
    finally:
        worker.leave()
    return 0


class Worker:
    """What a worker holds: its locks, its connection, its ear and its bell."""

    def __init__(self, post: Post, ear: Ear) -> None:
        self._place = place = post.place
        self._permits = post.permits
        self._burst = post.shift.burst
        self._done = False
        self._ear = ear
        self._seat = Seat(place, "worker")
        self._seat.open_exec_lock()
        self._null_fd = os.open(os.devnull, os.O_RDONLY)
        self._storage = Storage(place, flushed_later=True)
        record = self._seat.record(now_ms()) | {"pool": post.pool_id}
        self._me = self._storage.enlist_worker(record)
        self._bell = Bell(place, self._seat.token, self._me.queues)
        ear.attach(self._bell)
        self._environments: dict[int | None, dict[bytes, bytes]] = {}
        self._trouble = ""
        self._stored: dict[str, str] | None = None
        self._settings: dict[str, object] = {}
        self._hooked = False
        self._read_settings()
        self._owed: Callable[[], None] | None = None

    def work(self) -> None:
        """Claim, run and record until there is a reason to leave."""
        try:
            self._pay_hooks()
            while not self._leaving():
                job = self._claim()
                if job is None and not self._leaving():
                    self._idle()
                while job:
                    outcome = self._run(job)
                    job = self._record(job, outcome) if outcome else None
                self._pay_hooks()
        except Gone as error:
            tell(self._place, f"{error}; leaving")

    def _pay_hooks(self) -> None:
        """Run the hooks that are owed, where there are any."""
        if not self._hooked:
            return
        try:
            hooks.pay(self._storage, self._place, self._settings, self._ear)
        except Gone:
            raise
        except QueueError as error:
            self._complain(error)

    def leave(self) -> None:
        """Take ourselves off the register."""
        self._make_safe()
        try:
            self._storage.discharge_worker(self._me.id)
            self._storage.close()
        except QueueError as error:
            tell(self._place, str(error))
        self._bell.close()
        self._seat.leave()
        os.close(self._null_fd)

    def _leaving(self) -> bool:
        return self._done or self._ear.orphaned or self._ear.level >= DRAIN

    def _claim(self) -> Job | None:
        """Take the next job; out of idleness, pass on a ring that was meant for another."""
        try:
            self._obey(*self._storage.orders(self._me.id, None)[:2])
            if self._leaving():
                return None
            now = now_ms()
            if not self._has_work(now):
                if self._burst and self._storage.is_quiet(self._me, now):
                    self._done = True
                    ring_all(self._place)  # the others need not find out by themselves
                return None
            job = self._storage.claim(self._me, now) if self._may_start() else None
            self._trouble = ""
            if job is None:
                self._may_not_have()
        except Gone:
            raise
        except QueueError as error:
            self._complain(error)
            self._ear.wait(self._poll_s)
            return None
        if job:
            self._bell.idle(False)
            if self._has_work(now):
                ring_idle(self._place, job.queue)
        return job

    def _may_start(self) -> bool:
        """Take a permit where the pool may start only so many jobs; without one we are done."""
        if self._permits and not self._permits.take():
            self._done = True
            return False
        return True

    def _may_not_have(self) -> None:
        """Give the permit back: there was no job for it."""
        if self._permits and not self._done:
            self._permits.give_back()

    def _has_work(self, now: int) -> bool:
        due = self._storage.outlook(self._me, now)
        return due is not None and due <= now

    def _idle(self) -> None:
        """Sleep until there may be work or orders; while nothing changes, that is all it does."""
        try:
            self._read_settings()
            self._bell.idle(True)
            seen = self._storage.changes()
            due = self._storage.outlook(self._me, now_ms())
            while not self._woken(due):
                self._storage.check_same_file()
                if self._storage.changes() != seen:
                    return
        except Gone:
            raise
        except QueueError as error:
            self._complain(error)
            self._ear.wait(self._poll_s)

    def _woken(self, due: int | None) -> bool:
        """Sleep for a poll at most; say whether a ring, an order or a due job ended that."""
        left_s = self._poll_s if due is None else (due - now_ms()) / 1000
        rang = self._ear.wait(min(self._poll_s, left_s))
        return rang or self._leaving() or (due is not None and due <= now_ms())

    def _run(self, job: Job) -> Outcome | None:
        """Run a job with its log; None where the run was given up as one that cannot end."""
        self._read_settings()
        try:
            log_fd, log_start = logs.open_for_run(self._place, job)
        except OSError as error:
            return process.not_logged(error)
        except Refused as error:
            return Outcome(Kind.FAILED, error=f"no log: {error}", duration_s=0.0)
        limit: int = self._settings["log-max-size"]  # type: ignore[assignment]
        trimmer = trim.Trimmer(log_fd, self._place.log(job.id), log_start, limit)
        self._seat.note(f"0 0 {job.run} {log_start}")  # for who sees to it if we die right now
        try:
            outcome = process.run(
                self._command(job, log_fd),
                self._ear,
                lambda text: self._started(f"{text} {job.run} {log_start}"),
                lambda: self._orders(job),
                lambda what: self._storage.mark_stuck(job, what),
                trimmer.look,
            )
            log_start, log_end = trimmer.finish()
        except process.Abandoned:
            tell(self._place, f"job {job.id} run {job.run} was given up; it may still run")
            return None
        finally:
            os.close(log_fd)
        return Outcome(**{**vars(outcome), "log_start": log_start, "log_end": log_end})

    def _started(self, note: str) -> None:
        self._seat.note(note)
        self._make_safe()

    def _command(self, job: Job, log_fd: int) -> process.Command:
        shell = os.fsencode(str(self._settings["shell"]))
        argv = [os.fsencode(arg) for arg in json.loads(job.argv)] if job.argv else None
        return process.Command(
            argv=argv or [shell, b"-c", job.command.encode()],
            cwd=job.cwd,
            environment=self._environment(job),
            umask=job.umask,
            stdin_fd=self._null_fd,
            log_fd=log_fd,
            timeout_s=job.timeout_s,
            grace_s=self._length("kill-grace"),
            poll_s=self._poll_s,
        )

    def _read_settings(self) -> None:
        """Read the settings; working out what they mean is left until one has changed."""
        stored = self._storage.settings()
        if stored != self._stored:
            self._stored = stored
            self._settings = {key: config.resolve(key, stored)[0] for key in config.SETTINGS}
            self._poll_s = self._length("poll-interval")
            self._hooked = any(self._settings[key] for key in hooks.KEYS)

    def _length(self, key: str) -> float:
        return float(self._settings[key])  # type: ignore[arg-type]

    def _environment(self, job: Job) -> dict[bytes, bytes]:
        """Build what the job finds in its environment; the stored part is decoded once."""
        if job.env not in self._environments:
            stored = self._storage.environment(job.env)
            pairs = (entry.partition(b"=") for entry in stored.split(b"\0") if entry)
            self._environments = {job.env: {key: value for key, _, value in pairs}}
        own = dict(entry.split(b"=", 1) for entry in upkeep.marks(self._place, job))
        return {
            **self._environments[job.env],
            b"PWD": job.cwd,
            **own,
            b"QUEUECTL_JOB_ATTEMPT": b"%d" % job.attempts,
            b"QUEUECTL_JOB_MAX_RETRIES": b"%d" % job.max_retries,
            b"QUEUECTL_JOB_QUEUE": job.queue.encode(),
            b"QUEUECTL_JOB_LOG": os.fsencode(self._place.log(job.id)),
            b"QUEUECTL_JOB_SLOTS": (job.slots_held or "").encode(),
        }

    def _orders(self, job: Job) -> Kind | None:
        """Read why the running job should end early, if it should."""
        try:
            stop, stop_by, what = self._storage.orders(self._me.id, job)
        except QueueError:
            return None  # the job runs on; its end will be recorded when that is possible
        self._obey(stop, stop_by)
        if what == "abandon":
            raise process.Abandoned
        return Kind.CANCELLED if what == "cancel" else None

    def _obey(self, stop: int, stop_by: int | None) -> None:
        overdue = stop_by is not None and now_ms() >= stop_by
        self._ear.raise_to(max(stop, END) if overdue else stop)

    def _record(self, job: Job, outcome: Outcome) -> Job | None:
        """Record how a job ended, however long that takes, and claim the next one with it."""
        self._make_safe()  # of the job before, where this one could not be started
        while True:
            now = now_ms()
            jitter = self._length("backoff-jitter") * random.random()
            verdict = decide(job, outcome, now, jitter)
            alone = self._hooked or outcome.pause_s  # something comes before the next job
            more = not self._leaving() and not alone and self._may_start()
            claimant = self._me if more else None
            try:
                happened, opened, after = self._storage.finish(job, outcome, verdict, now, claimant)
                if happened and verdict.state in ENDED and config.from_environment(hooks.KEYS):
                    self._storage.owe_hook(job)
                break
            except Gone:
                raise
            except QueueError as error:
                self._complain(error)
                if more:
                    self._may_not_have()
                if isinstance(error, Full):
                    self._storage.release_ballast()
                self._ear.wait(self._poll_s)
        self._trouble = ""
        if more and after is None:
            self._may_not_have()
        self._owed = lambda: upkeep.ring(self._place, verdict, opened)
        if after is None:
            self._make_safe()
        if not happened:
            tell(self._place, f"job {job.id} run {job.run} was no longer ours: not recorded")
        if outcome.pause_s:
            self._ear.wait(outcome.pause_s)
        return after

    def _make_safe(self) -> None:
        """Sync what was recorded last, then wake whom it concerns.

        Once the next job has been started, so that the disk works beside it: the sync of a
        record takes 0.15 to 0.3 ms, as long as a short job.
        """
        tell_of_it, self._owed = self._owed, None
        if tell_of_it is None:
            return
        try:
            if self._settings["durability"] == "full":
                self._storage.flush()
        except QueueError as error:
            self._complain(error)
        tell_of_it()

    def _complain(self, error: QueueError) -> None:
        """Write a trouble down once, not at every try."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            tell(self._place, self._trouble)
