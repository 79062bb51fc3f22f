"""backup, doctor, metrics: looking after the file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import unittest

from tests.support import QueueTest, wait_for


class BackupTest(QueueTest):
    def test_a_copy_under_load_is_sound_and_has_what_was_there(self) -> None:
        text = "\n".join(f"echo {n} >> ledger" for n in range(2000)).encode()
        ids = self.box.ok("enqueue", "-q", "--file", "-", stdin=text).lines
        self.box.ok("worker", "start", "--count", "2")
        target = self.box.dir / "copy.db"
        self.box.ok("backup", str(target))
        self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o600)
        copy = sqlite3.connect(target)
        self.assertEqual(copy.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        found = [str(seq) for (seq,) in copy.execute("SELECT seq FROM job ORDER BY seq")]
        copy.close()
        self.assertEqual(found, ids)
        listed = self.box.ok("--db", str(target), "list", "--all", "-q")
        self.assertEqual(sorted(map(int, listed.lines)), list(range(1, 2001)))

    def test_it_replaces_nothing(self) -> None:
        self.box.enqueue("true")
        target = self.box.dir / "there"
        target.write_text("mine")
        refused = self.box.run("backup", str(target))
        self.assertEqual((refused.code, refused.err.count("\n")), (5, 1))
        self.assertEqual(target.read_text(), "mine")
        missing = self.box.run("backup", str(self.box.dir / "no" / "where"))
        self.assertEqual((missing.code, missing.err.count("\n")), (1, 1))
        self.assertEqual([p.name for p in self.box.dir.iterdir() if "part" in p.name], [])


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


class MetricsTest(QueueTest):
    def setUp(self) -> None:
        super().setUp()
        self.box.enqueue("exit 1", "--max-retries", "0", "--queue", "a")
        self.box.run("worker", "run", "--burst")
        self.box.enqueue("true", "--queue", "b")

    def test_what_it_counts(self) -> None:
        text = self.box.ok("metrics").out
        for line in (
            'queuectl_jobs{queue="a",state="dead"} 1',
            'queuectl_jobs{queue="b",state="pending"} 1',
            'queuectl_workers{state="idle"} 0',
        ):
            self.assertIn(line + "\n", text)

    def test_output_replaces_the_file_whole(self) -> None:
        target = self.box.dir / "queuectl.prom"
        target.write_text("old")
        self.box.ok("metrics", "--output", str(target))
        lines = target.read_text().splitlines()
        self.assertEqual(len(lines), len(self.box.ok("metrics").lines))
        self.assertNotIn("old", lines)
        refused = self.box.run("metrics", "--output", "/nonexistent/x")
        self.assertEqual((refused.code, refused.err.count("\n")), (1, 1))

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_accepts_it(self) -> None:
        text = self.box.ok("metrics").raw
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done.stdout)


if __name__ == "__main__":
    unittest.main()
