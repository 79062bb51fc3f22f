"""The import of the `jobs` table that early tools of this name wrote."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import unittest
from contextlib import closing
from pathlib import Path
from unittest import mock

from queuectl.errors import QueueError, Refused
from queuectl.lifecycle import Kind, Outcome, decide
from queuectl.place import MARKER, Place
from queuectl.storage import Storage, early, migrate
from tests.store import NOW, all_at_once, enlist, row, temporary
from tests.support import ROOT

TABLE = """CREATE TABLE jobs (id TEXT PRIMARY KEY, command TEXT NOT NULL, state TEXT,
    attempts INTEGER, max_retries INTEGER, created_at TEXT, updated_at TEXT)"""
AT, THEN = "2025-11-04T10:30:00Z", 1_762_252_200_000
ROWS = (
    ("job1", "echo hi", "pending", 0, 3, AT, AT),
    ("7", "echo 7", "processing", 1, 5, "2025-11-04 10:29:59", AT),
    ("6f2a0c9e-4d0e-4b57-9c8e-0d3d0c6f2f11", "true", "completed", 1, 3, AT, AT),
    ("flaky", "false", "failed", 2, 3, AT, AT),
    ("12", "false", "dead", 4, 3, AT, AT),
)


class EarlyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.dir = temporary(self)
        self.place = Place(str(self.dir / "q.db"))

    def write(self, *rows: tuple[object, ...], more: str = "", table: str = TABLE) -> None:
        """Write the file as the early tool did."""
        with closing(sqlite3.connect(self.place.db)) as db:
            db.execute(table)
            db.executemany("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            db.executescript(more)
            db.commit()
        os.chmod(self.place.db, 0o644)

    def open(self) -> Storage:
        store = Storage(self.place)
        self.addCleanup(store.close)
        return store

    def copies(self) -> list[Path]:
        return sorted(self.dir.glob("q.db.early*"))

    def test_every_row_becomes_a_job(self) -> None:
        self.write(*ROWS)
        store = self.open()
        for job_id, command, was, attempts, retries, _, _ in ROWS:
            with self.subTest(job_id):
                job = store.job(str(job_id))
                state = "pending" if was == "processing" else was
                self.assertEqual(
                    (job.command, job.state, job.attempts, job.max_retries, job.queue),
                    (command, state, attempts, retries, "default"),
                )
                self.assertEqual((job.updated_at, job.cwd), (THEN, os.fsencode(self.dir)))
        self.assertEqual(store.job("7").created_at, THEN - 1_000)
        self.assertEqual(store.job("12").finished_at, THEN)
        expected = {"pending": 2, "completed": 1, "failed": 1, "dead": 1}
        self.assertEqual({k: v for k, v in store.tally().items() if v}, expected)

    def test_what_waited_runs_in_its_old_order_and_with_an_environment(self) -> None:
        self.write(*ROWS)
        store = self.open()
        worker = enlist(store)
        claimed = [store.claim(worker, NOW) for _ in range(4)]
        self.assertEqual([job.id if job else None for job in claimed], ["7", "job1", "flaky", None])
        assert claimed[2] is not None
        self.assertEqual((claimed[2].run, claimed[2].attempts), (3, 3))
        self.assertIn(b"PATH=" + os.environb[b"PATH"], store.environment(claimed[2].env))
        outcome = Outcome(Kind.SUCCEEDED, exit_code=0)
        verdict = decide(claimed[2], outcome, NOW)
        self.assertTrue(store.finish(claimed[2], outcome, verdict, NOW, None)[0])

    def test_our_counter_goes_on_behind_the_numbers(self) -> None:
        self.write(*ROWS)
        self.assertGreater(int(self.open().insert([row()], NOW)[0][0]), 12)

    def test_a_number_is_nobody_elses(self) -> None:
        self.write(*((one, "true", "pending", 0, 3, AT, AT) for one in ("a", "b", "2", "1", "c")))
        found = {job.id: job.seq for job in self.open().select({}, None)}
        self.assertEqual((found["1"], found["2"]), (1, 2))
        self.assertEqual(sorted(found[one] for one in "abc"), [3, 4, 5])

    def test_another_client_may_be_faster_while_we_look(self) -> None:
        """Half of an answer from before and half from after an import would be a foreign file."""
        self.write(*ROWS, more="PRAGMA journal_mode = WAL;")
        really = migrate._is_early
        words = [sys.executable, "-m", "queuectl", "--db", self.place.db, "list", "-q"]
        left = [words]

        def slow(db: sqlite3.Connection) -> bool:
            if left:
                subprocess.run(left.pop(), check=True, timeout=60, cwd=ROOT, capture_output=True)
            return really(db)

        os.mkdir(self.place.state, 0o700)
        Path(self.place.state, MARKER).write_text("q.db")
        with mock.patch.object(migrate, "_is_early", slow):
            self.assertEqual(len(self.open().select({}, None)), len(ROWS))
        self.assertEqual(left, [])

    def test_dead_ones_can_be_retried(self) -> None:
        self.write(*ROWS)
        (job,) = self.open().retry(["12"], None, NOW)
        self.assertEqual(job.id, "12")

    def test_ids_that_are_none_for_us(self) -> None:
        odd = [
            "a b/c",
            "a b;c",
            "../../x",
            "",
            "ä",
            "007",
            "0",
            "-5",
            "9" * 25,
            "x" * 65,
            "early-x",
        ]
        self.write(*((one, "true", "pending", 0, 3, AT, AT) for one in odd))
        store = self.open()
        found = {job.label or job.id: job.id for job in store.select({}, None)}
        self.assertEqual(len(set(found.values())), len(odd))
        self.assertEqual(found["a b/c"], "early-a-b-c")
        self.assertEqual(found["a b;c"], "early-a-b-c-2")
        self.assertEqual(found["early-x"], "early-x")
        self.assertEqual(found["007"], "early-007")
        for job_id in found.values():
            with self.subTest(job_id):
                self.assertRegex(job_id, "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
                self.assertEqual(store.job(job_id).id, job_id)

    def test_rows_that_no_tool_should_have_written(self) -> None:
        self.write(
            ("blank", " ", "pending", 0, 3, AT, AT),
            ("nul", b"a\0b", "pending", 0, 3, AT, AT),
            ("odd", "true", "PAUSED?", None, None, None, "yesterday"),
            ("raw", b"echo \xff", "pending", -4, -1, 1_762_252_200, 1_762_252_200.5),
            ("late", "true", "completed", "2", "5", "9999-12-31T00:00:00Z", "9999-01-01"),
            ("twice", "true", None, 10**12, 3, float("inf"), ""),
        )
        store = self.open()
        for job_id, state, why in (
            ("blank", "dead", "without a command"),
            ("nul", "dead", "NUL"),
            ("odd", "dead", "unknown state 'PAUSED?'"),
            ("twice", "dead", "unknown state None"),
        ):
            job = store.job(job_id)
            self.assertEqual(job.state, state)
            self.assertIn(why, str(job.error))
        raw = store.job("raw")
        self.assertEqual((raw.command, raw.state, raw.attempts), ("echo \\xff", "pending", 0))
        self.assertEqual((raw.created_at, raw.updated_at), (THEN, THEN + 500))
        self.assertEqual((store.job("late").attempts, store.job("late").max_retries), (2, 5))

    def test_the_copy_is_the_early_file_and_private(self) -> None:
        self.write(*ROWS)
        self.open()
        (copy,) = self.copies()
        self.assertEqual(copy.stat().st_mode & 0o777, 0o600)
        self.assertEqual(Path(self.place.db).stat().st_mode & 0o777, 0o600)
        with closing(sqlite3.connect(copy)) as db:
            self.assertEqual(db.execute("SELECT * FROM jobs").fetchall(), list(ROWS))
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")

    def test_it_happens_once(self) -> None:
        self.write(*ROWS)
        self.open()
        self.open()
        self.assertEqual(len(self.copies()), 1)

    def test_an_empty_table_an_index_and_wal_are_fine(self) -> None:
        self.write(more="CREATE INDEX job_ready ON jobs (state); PRAGMA journal_mode = WAL;")
        self.assertEqual(self.open().select({}, None), [])

    def test_a_table_without_rowid_is_fine(self) -> None:
        self.write(*ROWS, table=TABLE + " WITHOUT ROWID")
        self.assertEqual(len(self.open().select({}, None)), len(ROWS))

    def test_eight_clients_at_once_import_once(self) -> None:
        self.write(*ROWS)
        self.assertEqual(all_at_once(8, lambda: Storage(self.place).close()), [0] * 8)
        self.assertEqual(len(self.copies()), 1)
        self.assertEqual(len(self.open().select({}, None)), len(ROWS))

    def test_all_or_nothing_when_it_is_killed_half_way(self) -> None:
        self.write(*ROWS)

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def killed() -> None:
            with mock.patch.object(early, "put", die):
                Storage(self.place)

        self.assertEqual(all_at_once(1, killed), [-signal.SIGKILL])
        with closing(sqlite3.connect(self.place.db)) as db:
            self.assertEqual(db.execute("SELECT * FROM jobs").fetchall(), list(ROWS))
            self.assertEqual(db.execute("PRAGMA application_id").fetchone()[0], 0)
        self.assertEqual(len(self.open().select({}, None)), len(ROWS))

    def test_all_or_nothing_when_it_fails_half_way(self) -> None:
        self.write(*ROWS)
        with (
            mock.patch.object(early, "_INSERT", early._INSERT.replace(":command", "''")),
            self.assertRaises((QueueError, sqlite3.Error)),
        ):
            Storage(self.place)
        with closing(sqlite3.connect(self.place.db)) as db:
            self.assertEqual(db.execute("SELECT * FROM jobs").fetchall(), list(ROWS))
        self.assertEqual(len(self.open().select({}, None)), len(ROWS))

    def test_a_copy_that_was_killed_is_in_nobodys_way(self) -> None:
        self.write(*ROWS)
        (self.dir / "q.db.early-draft").write_bytes(b"half a copy")
        self.open()
        self.assertEqual(len(self.copies()), 1)

    def test_logs_that_the_early_tool_left_are_adopted(self) -> None:
        self.write(*ROWS)
        logs = self.dir / "q" / "logs"
        logs.mkdir(parents=True)
        (logs / "job1.log").write_text("early\n")
        self.open()
        self.assertEqual((logs / "job1.log").read_text(), "early\n")
        self.assertEqual((self.dir / "q").stat().st_mode & 0o777, 0o700)

    def test_any_other_table_is_refused_untouched(self) -> None:
        for name, more in (
            ("another table", "CREATE TABLE users (id);"),
            ("a view", "CREATE VIEW v AS SELECT id FROM jobs;"),
            ("a trigger", "CREATE TRIGGER t AFTER DELETE ON jobs BEGIN SELECT 1; END;"),
            ("one column more", "ALTER TABLE jobs ADD COLUMN priority;"),
            ("one column less", "ALTER TABLE jobs DROP COLUMN updated_at;"),
            ("somebody's application", "PRAGMA application_id = 7;"),
        ):
            with self.subTest(name):
                self.write(*ROWS, more=more)
                before = Path(self.place.db).read_bytes()
                with self.assertRaises(Refused):
                    Storage(self.place)
                self.assertEqual(Path(self.place.db).read_bytes(), before)
                self.assertEqual([path.name for path in self.dir.iterdir()], ["q.db"])
                os.unlink(self.place.db)


if __name__ == "__main__":
    unittest.main()
