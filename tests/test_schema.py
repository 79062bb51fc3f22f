"""The schema itself: what must never be true cannot be stored, and what is counted is right."""

from __future__ import annotations

import random
import sqlite3
import unittest

from queuectl.errors import NotFound
from queuectl.lifecycle import Kind, State
from queuectl.storage import Storage, migrate
from tests.store import DAY, NOW, StoreTest, row

# state of the job -> what must not be written into it.
IMPOSSIBLE = {
    State.PENDING: (
        "state = 'asleep'", "command = ''", "ready = 2", "ready = 1, held = 1",
        "ready = 1, waits = 1", "waits = -1", "held = 7", "attempts = -1", "attempts = 1",
        "max_retries = -1", "backoff_base = -1", "backoff_max_s = -0.5", "timeout_s = 0",
        "slots = 0", "state = 'processing'", "state = 'failed'", "state = 'completed'",
        "state = 'dead'", "finished_at = 1", "worker = 1", "slots_held = '0'", "stuck = 'x'",
        "cancel_asked_at = 1", "priority = 'high'", "run_at = NULL", "cwd = 'text'",
    ),
    State.PROCESSING: (
        "worker = NULL", "ready = 1", "state = 'pending'", "finished_at = 1", "started_at = NULL",
        "run = 0",
    ),
    State.COMPLETED: ("finished_at = NULL", "ready = 1", "worker = 1", "started_at = NULL"),
    State.FAILED: ("finished_at = 1", "worker = 1", "started_at = NULL", "cancel_asked_at = 1"),
    State.DEAD: ("finished_at = NULL", "ready = 1", "stuck = 'x'"),
    State.CANCELLED: ("finished_at = NULL", "ready = 1", "worker = 1"),
}  # fmt: skip


class ChecksTest(StoreTest):
    def test_an_impossible_job_cannot_be_stored(self) -> None:
        db = self.db()
        for state, changes in IMPOSSIBLE.items():
            job = self.bring(state, f"q-{state}")
            for change in changes:
                with self.subTest(state=state, change=change):
                    with self.assertRaises(sqlite3.IntegrityError):
                        db.execute(f"UPDATE job SET {change} WHERE seq = ?", (job.seq,))
                    self.assertEqual(self.store.job(job.id), job)

    def test_an_impossible_run_cannot_be_stored(self) -> None:
        job = self.bring(State.PROCESSING)
        db = self.db()
        for change in ("outcome = 'won'", "outcome = 'lost'", "finished_at = 1", "duration_s = -1"):
            with self.subTest(change=change), self.assertRaises(sqlite3.IntegrityError):
                db.execute(f"UPDATE run SET {change} WHERE job = ?", (job.seq,))

    def test_a_run_of_a_job_exists_once(self) -> None:
        job = self.bring(State.PROCESSING)
        with self.assertRaises(sqlite3.IntegrityError):
            self.db().execute(
                "INSERT INTO run (job, run, attempt, worker, started_at) VALUES (?, 1, 1, 1, 1)",
                (job.seq,),
            )

    def test_one_unfinished_job_for_each_key(self) -> None:
        first, second, third = self.add(), self.add(), self.bring(State.COMPLETED, "ended").id
        db = self.db()
        db.execute("UPDATE job SET unique_key = 'k' WHERE id IN (?, ?)", (first, third))
        with self.assertRaises(sqlite3.IntegrityError):
            db.execute("UPDATE job SET unique_key = 'k' WHERE id = ?", (second,))

    def test_the_other_tables_check_too(self) -> None:
        db = self.db()
        for statement in (
            "INSERT INTO queue (name, paused) VALUES ('a', 2)",
            "INSERT INTO queue (name, concurrency) VALUES ('a', 0)",
            "INSERT INTO queue (name, rate_starts) VALUES ('a', 1)",
            "INSERT INTO queue (name, rate_starts, rate_window_ms) VALUES ('a', 0, 1)",
            "INSERT INTO dependency VALUES (1, 2, 'luck')",
            "INSERT INTO tally VALUES ('a', 'pending', -1, 1)",
            "INSERT INTO environment (digest, data, uses) VALUES (0, x'', -1)",
            "INSERT INTO environment (digest, data, uses) VALUES (0, 'text', 1)",
            "INSERT INTO schedule (name, cron, every_s, tz, overlap, catchup, template, cwd, "
            "umask, created_at) VALUES ('a', '* * * * *', 1, 'UTC', 'skip', 'once', '{}', x'', "
            "0, 0)",
        ):
            with self.subTest(statement), self.assertRaises(sqlite3.IntegrityError):
                db.execute(statement)

    def test_the_file_says_whose_it_is(self) -> None:
        db = self.db()
        self.assertEqual(db.execute("PRAGMA application_id").fetchone()[0], 0x51435431)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone()[0], migrate.VERSION)
        self.assertEqual(db.execute("PRAGMA journal_mode").fetchone()[0], "wal")


class IdsTest(StoreTest):
    def test_ids_count_up_and_are_never_reused(self) -> None:
        ids = [self.bring(State.DEAD, f"q{i}").id for i in range(3)]
        self.assertEqual(ids, ["1", "2", "3"])
        self.store.delete_ended(("dead",), None, 100)
        self.assertEqual(self.add(), "4")
        again = Storage(self.place)
        self.addCleanup(again.close)
        self.assertEqual(again.insert([row()], NOW), [("5", True)])

    def test_an_own_id_is_kept_and_does_not_disturb_the_count(self) -> None:
        self.assertEqual([self.add(), self.add(id="nightly"), self.add()], ["1", "nightly", "3"])
        self.assertEqual(self.store.job("nightly").id, "nightly")
        for unknown in ("2", "03", "NIGHTLY", "", "4", "9" * 30, "²"):
            with self.subTest(unknown), self.assertRaises(NotFound):
                self.store.job(unknown)


class CountsTest(StoreTest):
    """What triggers keep agrees with what is there, whatever happened."""

    def test_after_random_operations(self) -> None:
        dice = random.Random(7)
        now = NOW
        for _ in range(400):
            now += dice.choice((0, 1, 1_000, DAY))
            self._something(dice, now)
        db = self.db()
        counted = dict(db.execute("SELECT queue || '/' || state, count(*) FROM job GROUP BY 1"))
        kept = dict(db.execute("SELECT queue || '/' || state, jobs FROM tally WHERE jobs > 0"))
        self.assertEqual(kept, counted)
        self.assertGreater(len(counted), 8)
        by_state = dict(db.execute("SELECT state, count(*) FROM job GROUP BY 1"))
        self.assertEqual({k: v for k, v in self.store.tally().items() if v}, by_state)
        used = dict(db.execute("SELECT env, count(*) FROM job GROUP BY 1"))
        self.assertEqual(dict(db.execute("SELECT id, uses FROM environment")), used)
        orphans = "SELECT count(*) FROM run WHERE job NOT IN (SELECT seq FROM job)"
        self.assertEqual(db.execute(orphans).fetchone()[0], 0)
        queues = {name for (name,) in db.execute("SELECT DISTINCT queue FROM job")}
        self.assertLessEqual(queues, {name for (name,) in db.execute("SELECT name FROM queue")})

    def _something(self, dice: random.Random, now: int) -> None:
        queue = dice.choice("abc")
        what = dice.randrange(10)
        if what < 4:
            env = {"N": str(dice.randrange(3))}
            self.add(now, queue=queue, max_retries=dice.randrange(3), env=env)
        elif what < 7:
            job = self.store.claim(self.serving(queue), now)
            if job and dice.random() < 0.9:
                self.finish(job, dice.choice([*Kind]), now, exit_code=1)
        elif what == 7:
            self.store.retry((), queue, now)
        elif what == 8:
            states = ("dead", "completed", "cancelled")
            self.store.delete_ended(states, None, dice.randrange(3))
        else:
            waiting = self.store.select({"state": "pending"}, 1)
            for job in waiting:
                self.store.cancel(job.id, now)


if __name__ == "__main__":
    unittest.main()
