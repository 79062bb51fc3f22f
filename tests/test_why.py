"""`queuectl why`: each reason, brought about for real."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
import subprocess
import unittest
from datetime import UTC, datetime

from tests.support import LINUX, QueueTest, wait_for


def instant(text: object) -> float:
    """Give a stamp of ours as seconds since 1970."""
    assert isinstance(text, str)
    return datetime.fromisoformat(text).timestamp()


class WhyTest(QueueTest):
    def why(self, job: str) -> dict[str, object]:
        told = self.box.ok("why", job, "--json").json
        assert isinstance(told, dict)
        self.assertEqual(
            list(told), ["id", "state", "reason", "explanation", "blocked_by", "expected_at"]
        )
        return told

    def assert_why(
        self, job: str, reason: str, *words: str, blocked_by: list[str] | None = None
    ) -> dict[str, object]:
        told = self.why(job)
        self.assertEqual(told["reason"], reason, told)
        for word in words:
            self.assertIn(word, str(told["explanation"]))
        if blocked_by is not None:
            self.assertEqual(told["blocked_by"], blocked_by)
        start = str(told["explanation"])[:10]  # what follows may be a length, which changes
        self.assertIn(f"job {job} is {told['state']}: {start}", self.box.ok("why", job).out)
        return told

    def busy(self, *more: str, name: str = "gate") -> str:
        """Occupy a worker with a job that the gate `name` holds; give its id."""
        gate = self.box.gate(name)
        job = self.box.enqueue(f"cat {gate}", "--id", f"busy-{name}", *more)
        self.box.wait_state(job, "processing")
        self.addCleanup(self.box.ok, "worker", "stop", "--now")
        return job


class WaitingTest(WhyTest):
    def test_no_such_job(self) -> None:
        self.assertEqual(self.box.run("why", "99").code, 3)

    def test_held(self) -> None:
        job = self.box.enqueue("true", "--hold")
        self.assert_why(job, "held", "release", blocked_by=[])

    def test_blocked_by_parents_and_their_states(self) -> None:
        self.box.ok("worker", "start")
        first = self.busy()
        second = self.box.enqueue("true", "--hold")
        job = self.box.enqueue("true", "--after", first, "--after-finished", second)
        told = self.assert_why(job, "blocked", "(processing)", "(pending)")
        self.assertEqual(set(told["blocked_by"]), {first, second})  # type: ignore[arg-type,call-overload]

    def test_scheduled(self) -> None:
        job = self.box.enqueue("true", "--delay", "1h")
        told = self.assert_why(job, "scheduled")
        self.assertEqual(told["expected_at"], self.box.job(job)["run_at"])

    def test_backing_off(self) -> None:
        job = self.box.enqueue("exit 7", "--backoff-base", "3600")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "failed")
        told = self.assert_why(job, "backoff", "attempt 1 of 4", "exit 7")
        self.assertEqual(told["expected_at"], self.box.job(job)["run_at"])

    def test_paused(self) -> None:
        self.box.ok("queue", "pause", "slow")
        job = self.box.enqueue("true", "--queue", "slow")
        self.assert_why(job, "paused", "queue slow")

    def test_no_worker_or_none_for_its_queue_or_only_leaving_ones(self) -> None:
        job = self.box.enqueue("true")
        self.assert_why(job, "unserved", "queue default", "worker start")
        self.box.ok("worker", "start", "--queue", "other")
        self.assert_why(job, "unserved", "1 are draining or serve other queues")
        self.busy("--queue", "other")
        late = self.box.enqueue("true", "--queue", "other")
        self.box.ok("worker", "stop", "--no-wait")
        self.assert_why(late, "unserved")

    @unittest.skipUnless(LINUX, "/proc tells who is stopped")
    def test_a_worker_that_is_stopped_by_a_signal(self) -> None:
        self.box.ok("worker", "start")
        running = self.busy()
        job = self.box.enqueue("true")
        (worker,) = self.box.workers()
        os.kill(int(str(worker["pid"])), signal.SIGSTOP)
        try:
            wait_for(lambda: self.box.workers()[0]["state"] == "stopped", "the worker to stop")
            self.assert_why(job, "stopped", str(worker["pid"]))
            self.assert_why(running, "stopped", str(worker["pid"]))
        finally:
            os.kill(int(str(worker["pid"])), signal.SIGCONT)

    def test_a_queue_at_its_limit_and_who_holds_it(self) -> None:
        self.box.ok("queue", "set", "default", "--concurrency", "1")
        self.box.ok("worker", "start", "--count", "2")
        holder = self.busy()
        first, second = self.box.enqueue("true"), self.box.enqueue("true")
        self.assert_why(first, "limit", "no free slot of 1", f"job {holder}", blocked_by=[holder])
        self.assert_why(second, "limit", "1 job is", blocked_by=[holder])

    def test_one_that_needs_more_slots_than_are_free_or_there(self) -> None:
        self.box.ok("queue", "set", "default", "--concurrency", "2")
        self.box.ok("worker", "start", "--count", "2")
        holder = self.busy()
        job = self.box.enqueue("true", "--slots", "2")
        self.assert_why(job, "limit", "only 1 of 2 slots free", blocked_by=[holder])
        self.box.ok("queue", "set", "default", "--concurrency", "1")
        self.assert_why(job, "misfit", "never fits")

    def test_a_rate_that_is_used_up(self) -> None:
        self.box.ok("queue", "set", "default", "--rate", "1/1h")
        self.box.ok("worker", "start")
        first = self.box.enqueue("true")
        started = instant(self.box.wait_state(first, "completed")["started_at"])
        second, third = self.box.enqueue("true"), self.box.enqueue("true")
        told = self.assert_why(second, "rate", "1 starts in 3600s")
        self.assertAlmostEqual(instant(told["expected_at"]), started + 3600, delta=0.01)
        self.assertIsNone(self.assert_why(third, "rate", "1 job is")["expected_at"])

    def test_its_turn_behind_others_with_an_estimate(self) -> None:
        self.box.ok("worker", "start")
        running = self.busy()
        jobs = [self.box.enqueue("true") for _ in range(3)]
        self.box.enqueue("true", "--queue", "paused-one", "--priority", "9")
        self.box.ok("queue", "pause", "paused-one")
        told = self.assert_why(jobs[0], "turn", "the next", blocked_by=[running])
        self.assertIsNone(told["expected_at"])  # nothing has ended yet: there is no pace
        self.assert_why(jobs[2], "turn", "2 jobs are before it")
        urgent = self.box.enqueue("true", "--priority", "1")
        self.assert_why(jobs[2], "turn", "3 jobs are before it")
        self.assert_why(urgent, "turn", "the next")
        self.box.ok("worker", "run", "--max-jobs", "1")  # one ends: now there is a pace
        told = self.assert_why(jobs[2], "turn", "2 jobs are before it", "jobs a minute")
        pace = self.box.ok("status", "--json").json["rate_per_minute"]  # type: ignore[index,call-overload]
        expected_s = instant(told["expected_at"]) - datetime.now(UTC).timestamp()
        self.assertLessEqual(expected_s, 3 * 60 / pace + 1)
        self.assertGreater(expected_s, 0)

    def test_due_with_an_idle_worker_that_cannot_record_the_start(self) -> None:
        self.box.ok("worker", "start")
        job = self.box.enqueue("true", "--delay", "1")
        lock = os.open(self.box.state, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the write lock
            wait_for(lambda: self.why(job)["reason"] != "scheduled", "the job to become due")
            self.assert_why(job, "due")
        finally:
            os.close(lock)
        self.box.wait_state(job, "completed")

    def test_a_full_disk(self) -> None:
        disk = self.box.dir / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "none", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            self.skipTest("a small tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", str(disk)], check=True)
        db = str(disk / "q.db")
        self.box.env["QUEUECTL_DB"] = db
        gate = self.box.gate("gate")
        self.box.ok("worker", "start")
        self.addCleanup(self.box.ok, "worker", "stop", "--now")
        running = self.box.enqueue(f"cat {gate}")
        self.box.wait_state(running, "processing")
        job = self.box.enqueue("true")
        self.assert_why(job, "turn")
        filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, filler)
        try:
            while True:
                os.write(filler, b"x" * 4096)
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
        # What the WAL has room for can still be written; then nothing can.
        wait_for(lambda: self.box.run("enqueue", "true").code == 1, "the WAL to be full", 60)
        self.assert_why(job, "disk_full", db)
        os.ftruncate(filler, 0)
        self.assert_why(job, "turn")
        gate.open()
        self.box.wait_state(job, "completed")


class ProcessingTest(WhyTest):
    def test_running(self) -> None:
        self.box.ok("worker", "start")
        job = self.busy("--timeout", "1h")
        (worker,) = self.box.workers()
        self.assert_why(job, "running", f"worker {worker['pid']}", "may take 1h")

    def test_being_ended(self) -> None:
        self.box.ok("config", "set", "kill-grace", "40s")
        self.box.ok("worker", "start")
        job = self.box.enqueue("trap '' TERM; echo up; while :; do sleep 0.1; done")
        wait_for(lambda: self.box.ok("logs", job).out == "up\n", "the trap")
        self.start("cancel", job)
        wait_for(lambda: self.why(job)["reason"] == "ending", "the cancelling")
        for pid in self.box.pids():  # the job's own: only they end by it
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                if b"trap" in words.read().split(b"\0")[-2][:4]:
                    os.kill(pid, signal.SIGKILL)
        self.box.wait_state(job, "cancelled")

    def test_a_process_that_cannot_be_ended(self) -> None:
        self.box.ok("worker", "start")
        job = self.busy()
        db = sqlite3.connect(self.box.db, timeout=30)
        with db:
            db.execute("UPDATE job SET stuck = 'process 1 cannot be ended'")
        db.close()
        self.assert_why(job, "stuck", "process 1 cannot be ended", "--force")

    @unittest.skipUnless(LINUX, "kills its way up")
    def test_a_worker_that_is_gone_with_its_supervisor(self) -> None:
        self.box.ok("worker", "start")
        job = self.busy()
        db = sqlite3.connect(self.box.db, timeout=30)
        pids = [
            row[0] for row in db.execute("SELECT pid FROM pool UNION ALL SELECT pid FROM worker")
        ]
        db.close()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.box.workers(), "the workers to be gone")
        self.assert_why(job, "lost", "worker start")


class EndedTest(WhyTest):
    def test_each_end(self) -> None:
        add = self.box.enqueue
        none = ("--max-retries", "0")
        add("true", "--id", "good")
        add("exit 3", "--id", "bad", "--max-retries", "1", "--backoff-base", "0")
        add("exit 4", "--id", "final", "--no-retry-on", "4")
        add("sleep 60", "--id", "slow", "--timeout", "0.2", *none)
        add("kill -9 $$", "--id", "shot", *none)
        add("kill -9 $PPID", "--id", "lost", *none)
        add("true", "--id", "child", "--after", "bad")
        add("true", "--id", "late", "--expires", "0.2", "--queue", "nobodys")
        add("true", "--id", "unwanted", "--hold")
        self.box.ok("cancel", "unwanted")
        self.box.ok("worker", "start", "--queue", "default")
        for job, state in (
            ("good", "completed"), ("bad", "dead"), ("final", "dead"), ("slow", "dead"),
            ("shot", "dead"), ("lost", "dead"), ("child", "cancelled"), ("late", "cancelled"),
        ):  # fmt: skip
            self.box.wait_state(job, state)
        for job, reason, *words in (
            ("good", "succeeded", "exit status 0"),
            ("bad", "failed", "exit 3", "attempt 2 of 2"),
            ("final", "failed", "exit 4", "not retried on"),
            ("slow", "timed_out", "timed out"),
            ("shot", "failed", "SIGKILL"),
            ("lost", "lost", "worker lost"),
            ("late", "expired", "expired"),
            ("unwanted", "cancelled", "before it ran"),
        ):
            with self.subTest(job):
                self.assert_why(job, reason, *words, blocked_by=[])
        self.assert_why("child", "parent", "bad (dead)", blocked_by=["bad"])

    def test_cancelled_while_it_ran(self) -> None:
        self.box.ok("worker", "start")
        job = self.box.enqueue("sleep 600")
        self.box.wait_state(job, "processing")
        self.box.ok("cancel", job)
        self.assert_why(job, "cancelled", "while it ran")


if __name__ == "__main__":
    unittest.main()
