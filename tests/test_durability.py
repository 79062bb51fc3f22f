"""A worker's record is on the disk before anybody who waits for the job is told of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import unittest
from pathlib import Path

from tests.support import QueueTest, wait_for


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class RecordTest(QueueTest):
    def setUp(self) -> None:
        super().setUp()
        self.trace = self.box.dir / "trace"

    def calls_of_one_job(self) -> list[str]:
        """Let a worker run a job that somebody waits for; give what it wrote, synced and rang."""
        gate = self.box.gate("gate")
        self.box.ok("worker", "start")
        (pid,) = (int(str(worker["pid"])) for worker in self.box.workers())
        job = self.box.enqueue(f"cat {gate}")
        self.box.wait_state(job, "processing")
        waiting = self.start("wait", job)
        bells = self.box.state / "run" / "waiting"
        wait_for(lambda: bells.is_dir() and any(bells.iterdir()), "somebody who waits")
        tracer = _attach(pid, self.trace)
        gate.open()
        self.assertEqual(waiting.wait(30), 0)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=30)
        return [call for line in self.trace.read_text().splitlines() if (call := _named(line))]

    def test_the_sync_comes_between_the_record_and_the_bell(self) -> None:
        calls = self.calls_of_one_job()
        bell = calls.index("bell")
        self.assertEqual(calls[bell - 2 : bell], ["record", "sync"], calls)

    def test_durability_normal_leaves_the_sync_out(self) -> None:
        self.box.ok("config", "set", "durability", "normal")
        calls = self.calls_of_one_job()
        self.assertEqual(calls[calls.index("bell") - 1], "record", calls)
        self.assertNotIn("sync", calls)


def _attach(pid: int, out: Path) -> subprocess.Popen[bytes]:
    tracer = subprocess.Popen(
        ["strace", "-f", "-y", "-p", str(pid), "-o", str(out),
         "-e", "trace=pwrite64,write,fdatasync,fsync"],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert tracer.stderr is not None
    if b"attached" not in tracer.stderr.readline():
        raise unittest.SkipTest("strace may not attach here")
    return tracer


def _named(line: str) -> str | None:
    """Say what a traced call is to us: a write to the WAL, its sync, a ring for who waits."""
    if "-wal>" in line:
        return "sync" if "sync(" in line else "record"
    return "bell" if "/run/waiting/" in line else None


if __name__ == "__main__":
    unittest.main()
