"""Figures of what a large file costs: a million jobs in line must not slow anything down.

No process is started and nothing is synced here: what is left is what grows, if anything does.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable

from queuectl import spec
from queuectl.job import Job, WorkerRecord
from queuectl.lifecycle import Kind, Outcome, decide
from queuectl.place import Place
from queuectl.storage import Storage
from queuectl.worker.tree import birth
from tests.bench.figure import Bar, Contestant, Figure, race, ratios
from tests.bench.lab import Lab, lab
from tests.bench.run import Size

OPERATIONS = 50  # in one time
# What a copy of a row has for itself; everything else is the same.
_OWN = {"seq": "NULL"}
_INSTANTS = ("created_at", "updated_at", "run_at", "started_at", "finished_at")


def scale(size: Size) -> list[Figure]:
    """Time each verb on a file with `rows` pending and completed jobs, and on an empty one."""
    with lab() as small, lab() as large:
        grow(large, size.rows, completed=True)
        told = f"{size.rows} pending + {size.rows} completed : empty file"
        return _compare(small, large, size, "scale", told)


def clutter(size: Size) -> list[Figure]:
    """Time a claim behind delayed, held and paused jobs that all outrank."""
    rows = size.rows // 5
    with lab() as small, lab() as large:
        for changes in (
            "ready = 0, run_at = run_at + 900000000",
            "ready = 0, held = 1",
            "queue = 'paused'",
        ):
            grow(large, rows, completed=False, changes=f"priority = 9, {changes}")
        large.queue.pause("paused")
        told = f"{rows} delayed, held and paused each : empty file"
        return _compare(small, large, size, "clutter", told)[:2]


def _compare(small: Lab, large: Lab, size: Size, name: str, told: str) -> list[Figure]:
    figures = []
    benches = [_Bench(small), _Bench(large)]
    for verb in ("claim", "finish", "enqueue", "list", "status"):
        contestants = [
            Contestant(which, lambda bench=bench, verb=verb: bench.time(verb))  # type: ignore[misc]
            for which, bench in zip(("small", "large"), benches, strict=True)
        ]
        race(contestants, 1)
        times = race(contestants, size.rounds * 3)
        rounds = ratios(times["large"], times["small"])
        middle = sorted(times["large"])[len(rounds) // 2] / OPERATIONS * 1e6
        note = f"{middle:.0f} us each"
        figures.append(Figure(f"{name}-{verb}", f"{verb}, {told}", "x", rounds, Bar(1.5), note))
    for bench in benches:
        bench.close()
    return figures


class _Bench:
    """One file, and the verbs as a worker and a client call them, but for the sync."""

    def __init__(self, ours: Lab) -> None:
        ours.queue.close()
        self.place = Place(str(ours.db))
        self.storage = Storage(self.place, flushed_later=True)
        self.worker = enlist(self.storage)
        self.running: list[Job] = []
        self.row = row()

    def close(self) -> None:
        self.storage.discharge_worker(self.worker.id)
        self.storage.discharge_pool(self.worker.pool)
        self.storage.close()

    def time(self, verb: str) -> float:
        """Call a verb some times and give the seconds, each with work of its own to do."""
        ready: dict[str, Callable[[], object]] = {"claim": self._put, "finish": self._take}
        if verb in ready:
            for _ in range(OPERATIONS):
                ready[verb]()
        call: Callable[[], object] = getattr(self, "_" + verb)
        began = time.perf_counter()
        for _ in range(OPERATIONS):
            call()
        took = time.perf_counter() - began
        while self.running:
            self._finish()
        return took

    def _put(self) -> None:
        self.storage.insert([self.row], spec.now_ms())

    def _take(self) -> None:
        self._put()
        self._claim()

    def _claim(self) -> None:
        job = self.storage.claim(self.worker, spec.now_ms())
        assert job is not None
        self.running.append(job)

    def _finish(self) -> None:
        job, now = self.running.pop(), spec.now_ms()
        outcome = Outcome(Kind.SUCCEEDED, exit_code=0, duration_s=0.0)
        assert self.storage.finish(job, outcome, decide(job, outcome, now), now, None)[0]

    def _enqueue(self) -> None:
        self._put()

    def _list(self) -> None:
        self.storage.select({}, 51)

    def _status(self) -> None:
        self.storage.tally()
        self.storage.runnable(spec.now_ms())
        self.storage.processing()


def row() -> dict[str, object]:
    """Give the row of a small job."""
    return spec.complete(spec.check({"command": "true", "cwd": "/"}, str), {}, spec.now_ms())


def enlist(storage: Storage) -> WorkerRecord:
    """Register ourselves as a worker."""
    mine: dict[str, object] = {
        "pid": os.getpid(), "birth": birth(os.getpid()), "lock": "bench", "lock_dev": 0,
        "lock_ino": 0, "exec_dev": 0, "exec_ino": 0, "background": 0, "queues": None,
        "now": spec.now_ms(),
    }  # fmt: skip
    pool = storage.enlist_pool(mine)
    return storage.enlist_worker({**mine, "pool": pool.id})


def grow(ours: Lab, rows: int, *, completed: bool, changes: str = "") -> None:
    """Put many jobs into a file by SQL of our own: through the front door it would take long.

    They are copies of one that is made by the front door, so that they are like any other; what
    the triggers count is counted here at once.
    """
    bench = _Bench(ours)
    bench._put()
    pending = bench.storage.select({"state": "pending"}, 1)[0].seq
    done = 0
    if completed:
        bench._claim()
        done = bench.running[0].seq
        bench._finish()
        bench._put()
        pending = bench.storage.select({"state": "pending"}, 1)[0].seq
    bench.close()
    db = sqlite3.connect(ours.db, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN IMMEDIATE")
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    if changes:
        db.execute(f"UPDATE job SET {changes} WHERE seq = ?", (pending,))
    _copy(db, "job", pending, rows)
    if completed:
        _copy(db, "job", done, rows)
        _copy_runs(db, done, rows)
    elif "queue" in changes:
        db.execute("INSERT INTO queue (name) SELECT DISTINCT queue FROM job WHERE true "
                   "ON CONFLICT DO NOTHING")  # fmt: skip
    db.execute("DELETE FROM tally")
    db.execute(
        "INSERT INTO tally SELECT queue, state, count(*), max(seq) FROM job GROUP BY queue, state"
    )
    db.execute(
        "UPDATE environment SET uses = (SELECT count(*) FROM job WHERE env = environment.id)"
    )
    for _, sql in triggers:
        db.execute(sql)
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def _copy(db: sqlite3.Connection, table: str, seq: int, rows: int) -> None:
    columns = [
        name for _, name, *_, hidden in db.execute(f"PRAGMA table_xinfo({table})") if not hidden
    ]
    values = [
        _OWN.get(name, f"{name} + series.value / 100" if name in _INSTANTS else name)
        for name in columns
    ]
    db.execute(
        "WITH RECURSIVE series (value) AS "
        "(VALUES (1) UNION ALL SELECT value + 1 FROM series WHERE value < ?) "
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM series, {table} WHERE {table}.seq = ?",
        (rows, seq),
    )


def _copy_runs(db: sqlite3.Connection, seq: int, rows: int) -> None:
    """Give each of the copies, which are the youngest rows, a run as the first one has."""
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(run)")]
    values = ["job.seq" if name == "job" else f"run.{name}" for name in columns]
    db.execute(
        f"INSERT INTO run ({', '.join(columns)}) SELECT {', '.join(values)} "
        "FROM job, run WHERE run.job = ? AND job.seq > (SELECT max(seq) FROM job) - ?",
        (seq, rows),
    )
