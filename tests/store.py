"""What the tests of storage share: an open file, a worker on its register, jobs in any state."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import tempfile
import traceback
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from queuectl import Queue, spec
from queuectl.job import Job, WorkerRecord
from queuectl.lifecycle import Kind, Outcome, State, decide
from queuectl.place import Place
from queuectl.storage import Storage

NOW = 1_800_000_000_000  # an instant of our own: nothing here reads the clock
DAY = 86_400_000


def temporary(test: unittest.TestCase) -> Path:
    """Give a directory that goes when the test is over."""
    path = Path(tempfile.mkdtemp(prefix="queuectl-test-"))
    test.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path.resolve()


def row(now: int = NOW, **options: object) -> dict[str, object]:
    """Give the row of a job with these options, as an enqueue would store it."""
    checked = spec.check({"command": "true", "cwd": "/", **options}, str)
    return spec.complete(checked, {}, now)


class StoreTest(unittest.TestCase):
    """A test with a file: `self.store`, and a worker that takes every queue: `self.worker`."""

    def setUp(self) -> None:
        self.dir = temporary(self)
        self.place = Place(str(self.dir / "q.db"))
        self.store = Storage(self.place)
        self.addCleanup(self.store.close)
        self.worker = enlist(self.store)

    def db(self) -> sqlite3.Connection:
        """Open the file a second time, to look at it (or to harm it) without Storage."""
        db = sqlite3.connect(self.place.db, timeout=30, isolation_level=None)
        self.addCleanup(db.close)
        return db

    def add(self, now: int = NOW, **options: object) -> str:
        """Store a job and give its id."""
        return self.store.insert([row(now, **options)], now)[0][0]

    def serving(self, queue: str) -> WorkerRecord:
        """Give the worker as one that serves a single queue."""
        return dataclasses.replace(self.worker, queues=queue)

    def claim(self, queue: str | None = None, now: int = NOW) -> Job:
        """Claim what is next (in a queue); there must be something."""
        job = self.store.claim(self.serving(queue) if queue else self.worker, now)
        assert job is not None
        return job

    def finish(self, job: Job, kind: Kind, now: int = NOW, **more: object) -> bool:
        """End a run as a worker would."""
        outcome = Outcome(kind, **more)  # type: ignore[arg-type]
        return self.store.finish(job, outcome, decide(job, outcome, now), now, None)[0]

    def bring(self, state: State, queue: str = "default", **options: object) -> Job:
        """Make a job that is in this state, alone in its queue."""
        retries = 0 if state is State.DEAD else 1
        job_id = self.add(queue=queue, **{"max_retries": retries, **options})
        if state is State.CANCELLED:
            self.store.cancel(job_id, NOW)
        elif state is not State.PENDING:
            job = self.claim(queue)
            if state is State.COMPLETED:
                self.finish(job, Kind.SUCCEEDED, exit_code=0)
            elif state is not State.PROCESSING:
                self.finish(job, Kind.FAILED, exit_code=1)
        found = self.store.job(job_id)
        self.assertEqual(found.state, state)
        return found


class ClockTest(unittest.TestCase):
    """A test that enqueues through the API and plays the worker, with a clock that it moves."""

    def setUp(self) -> None:
        self.queue = Queue(str(temporary(self) / "q.db"))
        self.addCleanup(self.queue.close)
        self.storage = self.queue.storage
        self.worker = enlist(self.storage)
        self.now = 0

    def claim(self) -> Job | None:
        """Claim what is next at `self.now`, which is never before the clock of the API."""
        self.now = max(self.now, spec.now_ms())
        return self.storage.claim(self.worker, self.now)

    def finish(self, job: Job | None, kind: Kind, exit_code: int = 0) -> None:
        """End a run as its worker would; it must be that worker's to end."""
        assert job is not None
        outcome = Outcome(kind, exit_code=exit_code, duration_s=0.0)
        verdict = decide(job, outcome, self.now)
        self.assertTrue(self.storage.finish(job, outcome, verdict, self.now, None)[0])


def enlist(store: Storage) -> WorkerRecord:
    """Put a pool and a worker on the register: this very process."""
    seat: dict[str, object] = {
        "pid": os.getpid(), "birth": "test", "lock": "none", "lock_dev": 0, "lock_ino": 0,
        "exec_dev": 0, "exec_ino": 0, "background": 1, "queues": None, "now": NOW,
    }  # fmt: skip
    pool = store.enlist_pool(seat)
    return store.enlist_worker({**seat, "pool": pool.id})


def all_at_once(count: int, do: Callable[[], object]) -> list[int]:
    """Do a thing in so many processes, all let go at one moment; give their exit statuses."""
    gate, opener = os.pipe()
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            _child(gate, opener, do)
        children.append(pid)
    os.close(gate)
    os.close(opener)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def _child(gate: int, opener: int, do: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        os.close(opener)
        os.read(gate, 1)  # the end of the pipe: the last opener is gone
        do()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
