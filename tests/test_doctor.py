"""doctor: every finding is brought about for real, and says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import unittest
from contextlib import closing
from pathlib import Path

from tests.support import QueueTest, wait_for


class DoctorTest(QueueTest):
    def findings(self, code: int = 0) -> dict[str, list[str]]:
        result = self.box.run("doctor", "--json")
        self.assertEqual(result.code, code, result)
        found: dict[str, list[str]] = {}
        for each in result.json:  # type: ignore[attr-defined]
            found.setdefault(each["level"], []).append(f"{each['name']}: {each['what']}")
        return found

    def test_all_is_well(self) -> None:
        self.box.enqueue("true")
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(set(self.findings()), {"ok"})
        self.assertIn("ok    integrity", self.box.ok("doctor").out)

    def test_what_it_finds(self) -> None:
        job = self.box.enqueue("sleep 60", "--queue", "lonely")
        self.box.ok("worker", "start", "--queue", "other")
        os.chmod(self.box.db, 0o644)
        (victim,) = (int(str(w["pid"])) for w in self.box.workers())
        pools = sqlite3.connect(self.box.db).execute("SELECT pid FROM pool").fetchall()
        for pid in (pools[0][0], victim):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.box.workers(), "their death")
        (self.box.state / "run" / "worker-1-dead.lock").touch()
        found = " ".join(self.findings()["warn"])
        for word in ("0644", "lonely", "registered and are dead", "nobody's"):
            self.assertIn(word, found)
        self.assertEqual(self.box.state_of(job), "pending")

    def test_a_count_that_is_wrong_is_bad(self) -> None:
        self.box.enqueue("true")
        db = sqlite3.connect(self.box.db)
        db.execute("UPDATE tally SET jobs = 7")
        db.commit()
        db.close()
        self.assertIn("1 jobs are there and 7 are counted", " ".join(self.findings(1)["bad"]))

    def advice(self, code: int, name: str, *words: str) -> dict[str, str]:
        """Give the one finding of that name that is not in order."""
        result = self.box.run("doctor", "--json", *words)
        self.assertEqual((result.code, result.err), (code, ""), result)
        (found,) = (
            each
            for each in result.json  # type: ignore[attr-defined]
            if each["name"] == name and each["level"] != "ok"
        )
        self.assertTrue(found["do"], found)
        return found  # type: ignore[no-any-return]

    def test_a_file_that_does_not_open_is_one_finding_among_others(self) -> None:
        db, state = self.box.db, self.box.state

        def grow_old() -> None:
            self.box.enqueue("-q", "true")
            with closing(sqlite3.connect(db)) as file:
                file.execute("PRAGMA user_version = 99")

        def litter() -> None:
            self.box.enqueue("-q", "true")
            (state / ".queuectl").unlink()
            (state / "thesis.txt").touch()

        def open_up() -> None:
            self.box.enqueue("-q", "true")
            db.chmod(0o660)

        cases = (
            ("malformed", lambda: db.write_text("dear diary" * 99), "not a sound", "put a backup"),
            ("a directory", db.mkdir, "is not a file", "--db PATH"),
            ("foreign", lambda: _foreign(db), "not one of queuectl's", "--db PATH"),
            ("too new", grow_old, "schema 99", "Update queuectl"),
            ("state not ours", litter, "was not made by queuectl", "--db PATH"),
            ("rights", open_up, "can be written by others", "chmod go-w"),
        )
        for name, bring_about, what, do in cases:
            with self.subTest(name):
                self.clear()
                bring_about()
                found = self.advice(1, "file")
                self.assertEqual(found["level"], "bad")
                self.assertIn(what, found["what"])
                self.assertIn(do, found["do"])
                self.assertNotIn("doctor", found["do"])
                said = self.box.run("doctor")
                self.assertEqual((said.code, said.err), (1, ""))
                for line in ("ok    python: ", "ok    sqlite: ", "ok    disk: ", "bad   file: "):
                    self.assertIn(line, said.out)

    def clear(self) -> None:
        """Begin again with nothing."""
        for path in self.box.dir.iterdir():
            if path.name != "home":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def test_a_page_that_is_damaged(self) -> None:
        self.box.ok("enqueue", "-q", "--file", "-", stdin=b"true\n" * 2000)
        with closing(sqlite3.connect(self.box.db)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with open(self.box.db, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            for page in range(40, size // 4096):
                file.seek(page * 4096)
                file.write(b"\xff" * 4096)
        said = self.box.run("doctor")
        self.assertEqual((said.code, said.err), (1, ""), said)
        self.assertIn("bad   ", said.out)
        self.assertIn("backup", said.out)

    def test_what_is_left_of_a_database_that_is_gone(self) -> None:
        for end in ("-wal", "-shm"):
            Path(f"{self.box.db}{end}").touch()
        result = self.box.run("doctor", "--json")
        found = {each["name"]: each for each in result.json}  # type: ignore[attr-defined]
        self.assertEqual((result.code, found["wal"]["level"]), (0, "warn"), result)
        self.assertIn(f"rm {self.box.db}-wal {self.box.db}-shm", found["wal"]["do"])
        self.assertIn("there is no queue", found["file"]["what"])
        self.assertTrue(os.path.exists(f"{self.box.db}-wal"))

    def test_a_ballast_that_was_given_up(self) -> None:
        self.box.enqueue("true")
        self.box.ok("worker", "run", "--burst")
        (self.box.state / "ballast").unlink()
        self.assertIn("worker start", self.advice(0, "ballast")["do"])

    def test_a_wal_that_cannot_be_written_back(self) -> None:
        self.box.enqueue("true", "--hold")
        with (
            closing(sqlite3.connect(self.box.db, isolation_level=None)) as reader,
            closing(sqlite3.connect(self.box.db)) as writer,
        ):
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM config").fetchall()
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute("INSERT INTO config VALUES ('timeout', hex(zeroblob(36000000)))")
            writer.commit()
            self.assertIn("read transaction", self.advice(0, "wal")["do"])

    def test_a_disk_that_is_nearly_full(self) -> None:
        for size, code, level in (("16m", 0, "warn"), ("2m", 1, "bad")):
            with self.subTest(size):
                disk = self.box.dir / size
                disk.mkdir()
                options = f"size={size},mode=700"
                mount = ["mount", "-t", "tmpfs", "-o", options, "queuectl-test", str(disk)]
                if subprocess.run(mount, capture_output=True).returncode:
                    self.skipTest("no tmpfs can be mounted")
                self.addCleanup(subprocess.run, ["umount", "-l", str(disk)], check=True)
                self.box.enqueue("-q", "--db", f"{disk}/q.db", "--hold", "true")
                found = self.advice(code, "disk", "--db", f"{disk}/q.db")
                self.assertEqual(found["level"], level)

    def test_hooks_that_failed(self) -> None:
        self.box.ok("config", "set", "on-finish", "exit 9")
        self.box.enqueue("true")
        self.box.ok("worker", "run", "--burst")
        found = self.advice(0, "hooks")
        self.assertIn("1 failed", found["what"])
        self.assertIn("worker.log", found["do"])

    def test_a_worker_that_is_stopped(self) -> None:
        self.box.ok("worker", "start")
        (worker,) = self.box.workers()
        pid = int(str(worker["pid"]))
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        wait_for(lambda: self.box.workers()[0]["state"] == "stopped", "the worker to be stopped")
        self.assertIn(f"kill -CONT {pid}", self.advice(0, "workers")["do"])


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE photos (id)")
    path.chmod(0o600)


if __name__ == "__main__":
    unittest.main()
