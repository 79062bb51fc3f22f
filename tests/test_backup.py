"""backup, metrics: looking after the file."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import unittest

from tests.support import QueueTest


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
