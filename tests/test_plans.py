"""How the hot statements find their rows: each by its index, whatever the file holds.

The witness is SQLite's own plan of every statement that a verb executes, with statistics of
ANALYZE and without, and the number of steps that it takes on a large file and on a small one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from unittest import mock

from queuectl.job import Job
from queuectl.lifecycle import Kind, Outcome, State, decide
from queuectl.storage import fleet, jobs, limits, listing, views
from tests.store import NOW, StoreTest, row

Verb = Callable[[sqlite3.Connection], object]

# Walked in their own order, until a limit stops it: what runs, is delayed, held or blocked.
WALKED = ("job_processing", "job_due", "job_kept")
SMALL = 40  # jobs in each situation
COMPARES = {"Eq", "Ne", "Lt", "Le", "Gt", "Ge"}


class Watched:
    """A connection that notes the plan of whatever is executed on it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.scans: list[str] = []
        self.done: list[str] = []

    def execute(self, sql: str, values: object = ()) -> sqlite3.Cursor:
        self.done.append(sql)
        plan = self.db.execute("EXPLAIN QUERY PLAN " + sql, values).fetchall()  # type: ignore[call-overload]
        for *_, step in plan:
            long = step.split()[:2] in (["SCAN", "job"], ["SCAN", "run"])
            if long and step.split()[-1] not in WALKED:
                self.scans.append(f"{step}: {' '.join(sql.split())}")
        return self.db.execute(sql, values)  # type: ignore[call-overload]


class PlansTest(StoreTest):
    def fill(self, count: int) -> None:
        """Put as many jobs into every situation that a job can be in."""
        many = [row(command=f"echo {i}", label="some") for i in range(count)]
        self.store.insert(many, NOW)
        for _ in range(count // 2):  # half of them run: one half of that succeeds
            job = self.claim()
            self.finish(job, Kind.SUCCEEDED if job.seq % 2 else Kind.FAILED)
        self.store.insert([row(max_retries=0, queue="doomed") for _ in range(count)], NOW)
        for _ in range(count):
            self.finish(self.claim("doomed"), Kind.FAILED)
        self.store.insert([row(delay=3600) for _ in range(count)], NOW)
        self.store.insert([row(hold=True) for _ in range(count)], NOW)
        self.store.insert([row(after="1", queue="later") for _ in range(10)], NOW)
        self.store.insert([row(queue="paused", priority=9) for _ in range(count)], NOW)
        self.store.set_paused("paused", True)

    def verbs(self, job: Job) -> dict[str, Verb]:
        """Name the hot verbs; `job` is being processed."""
        outcome = Outcome(Kind.SUCCEEDED, exit_code=0)
        verdict = decide(job, outcome, NOW)
        none: dict[str, object] = {}
        verbs: dict[str, Verb] = {
            "insert": lambda db: jobs.insert(db, [row()], NOW),
            "insert unique": lambda db: jobs.insert(db, [row(unique="key")], NOW),
            "insert named": lambda db: jobs.insert(db, [row(id="name")], NOW),
            "find by name": lambda db: jobs.find(db, "name"),
            "find by number": lambda db: jobs.find(db, "1"),
            "environment": lambda db: jobs.environment(db, job.env),
            "claim": lambda db: jobs.claim(db, self.worker.id, (), NOW),
            "claim bound": lambda db: jobs.claim(db, self.worker.id, ("default", "x"), NOW),
            "outlook": lambda db: jobs.outlook(db, (), NOW),
            "outlook bound": lambda db: jobs.outlook(db, ("paused", "x"), NOW),
            "expired": lambda db: jobs.expired(db, NOW),
            "orders": lambda db: fleet.orders(db, self.worker.id, job),
            "finish": lambda db: jobs.finish(db, job, outcome, verdict, NOW),
            "give back": lambda db: limits.give_back(db, job),
            "openings": lambda db: limits.openings(db),
            "processing": lambda db: views.processing(db, self.worker.id),
            "list": lambda db: listing.select(db, none, 20),
            "list a queue": lambda db: listing.select(db, {"queue": "default"}, 20),
            "tally": views.tally,
            "runnable": lambda db: views.runnable(db, NOW),
            "misfits": limits.misfits,
            "last started": views.last_started,
            "runs": lambda db: views.runs(db, job),
            "quiet": lambda db: views.is_quiet(db, ("paused",), NOW),
            "ended badly": lambda db: views.ended_badly(db, NOW + 1, ()),
            "ended": lambda db: views.ended(db, ("completed", "cancelled"), NOW + 1, None, 20),
            "ended long ago": lambda db: views.ended(db, ("completed", "dead"), NOW, None, 20),
            "count of old": lambda db: views.count_ended(db, ("completed",), NOW),
        }
        for state in State:
            one: dict[str, object] = {"state": str(state)}
            verbs[f"list {state}"] = lambda db, one=one: listing.select(db, one, 20)
        return verbs

    # What gives every row that there is takes as long, but by an index.
    def whole(self) -> dict[str, Verb]:
        return {
            "count of ready": lambda db: views.count_ready(db, ()),
            "dead": lambda db: views.dead(db, None),
            "dead of a queue": lambda db: views.dead(db, "doomed"),
            "unfinished": lambda db: listing.unfinished(db, "default"),
            "list a label": lambda db: listing.select(db, {"label": "none"}, 20),
            "list a common label": self.common,
            "list since": lambda db: listing.select(db, {"since": NOW + 1, "state": "dead"}, 20),
        }

    @mock.patch.object(listing, "FEW", 0)
    def common(self, db: sqlite3.Connection) -> object:
        return listing.select(db, {"label": "some", "since": NOW}, 20)

    def look(self, name: str, verb: Verb) -> list[str]:
        """Execute a verb, take back what it did, and give what it scanned."""
        with self.store._at.read() as db:
            watched = Watched(db)
            db.execute("SAVEPOINT look")
            verb(watched)  # type: ignore[arg-type]
            db.execute("ROLLBACK TO look")
            return watched.scans

    def test_no_hot_statement_scans(self) -> None:
        self.fill(60)
        job = self.claim()
        for statistics in ("none", "ANALYZE"):
            if statistics == "ANALYZE":
                with self.store._at.write() as db:
                    db.execute("ANALYZE")
            for name, verb in {**self.verbs(job), **self.whole()}.items():
                with self.subTest(name, statistics=statistics):
                    self.assertEqual(self.look(name, verb), [])

    @mock.patch.object(listing, "FEW", -1)  # no label is rare
    def test_what_a_list_leaves_out_is_told_by_its_index_entry(self) -> None:
        """What SQLite compares it has from the index, not from the row that this stands for."""
        self.fill(SMALL)
        with self.store._at.read() as db:
            watched = Watched(db)
            for given in ({"label": "x"}, {"since": NOW + 9}, {"label": "x", "queue": "default"}):
                listing.select(watched, given, 20)  # type: ignore[arg-type]
            walks = [
                sql for sql in watched.done if "LIMIT :most" in sql and "processing" not in sql
            ]
            self.assertGreaterEqual(len(walks), 12)
            table = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job'").fetchone()
            values = {"label": "x", "queue": "default", "since": NOW, "most": 20}
            for sql in walks:
                if "queue = " in sql and "ready = 0" in sql:
                    continue  # what waits for a time or a person is looked at by queue
                with self.subTest(sql):
                    steps = [step[1:4] for step in db.execute("EXPLAIN " + sql, values)]
                    cursor = next(p1 for op, p1, p2 in steps if op == "OpenRead" and p2 == table[0])
                    opened = next(
                        at for at, (op, p1, _) in enumerate(steps) if (op, p1) == ("Column", cursor)
                    )
                    after = {op for op, *_ in steps[opened:]} & COMPARES
                    self.assertEqual(after, set())

    def steps(self, job: Job) -> dict[str, int]:
        """Count the steps of SQLite's machine that each verb takes."""
        counted = {}
        for name, verb in self.verbs(job).items():
            taken = 0

            def step() -> None:
                nonlocal taken
                taken += 1

            with self.store._at.read() as db:
                db.execute("SAVEPOINT look")
                db.set_progress_handler(step, 10)
                verb(db)
                db.set_progress_handler(None, 10)
                db.execute("ROLLBACK TO look")
            counted[name] = taken
        return counted

    def test_a_large_file_takes_no_more_steps(self) -> None:
        self.fill(SMALL)
        small = self.steps(self.claim())
        self.fill(SMALL * 20)
        large = self.steps(self.claim())
        for name in small:
            with self.subTest(name):
                self.assertLessEqual(large[name], small[name] * 2 + 20)
