"""Stopping says what it waits for: a process that is stopped, a job that runs to its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import unittest
from typing import IO

from tests.support import LINUX, QueueTest, wait_for


class StoppingTest(QueueTest):
    def line(self, pipe: IO[bytes] | None) -> str:
        """Read one line; fail where none comes."""
        assert pipe is not None
        self.assertTrue(select.select([pipe], [], [], 60)[0], "nothing was said")
        return pipe.readline().decode()

    def halt(self, pid: int) -> None:
        """Stop a process by a signal; it goes on when the test ends."""
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.go_on, pid)

    def go_on(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    @unittest.skipUnless(LINUX, "the state of a process is read from /proc")
    def test_a_worker_that_is_stopped_is_named_with_its_job(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(f"echo begin >> ledger; cat {gate}")
        self.box.ok("worker", "start", "--count", "2")
        wait_for(self.box.ledger, "the job to begin")
        (pid,) = (int(str(w["pid"])) for w in self.box.workers() if w["job"] == job)
        self.halt(pid)
        stop = self.start("worker", "stop")
        told = f"process {pid} is stopped and has job {job}. To let it go on: kill -CONT {pid}\n"
        self.assertEqual(self.line(stop.stderr), f"queuectl: {told}")
        self.go_on(pid)
        gate.open()
        out, err = stop.communicate(timeout=60)
        self.assertEqual((stop.returncode, out, err), (0, b"Stopped 2 workers.\n", b""))

    @unittest.skipUnless(LINUX, "the state of a process is read from /proc")
    def test_a_supervisor_that_is_stopped_is_named(self) -> None:
        pool = self.start("worker", "run")
        wait_for(self.box.workers, "the worker to be up")
        self.halt(pool.pid)
        stop = self.start("worker", "stop")
        told = f"process {pool.pid} is stopped. To let it go on: kill -CONT {pool.pid}\n"
        self.assertEqual(self.line(stop.stderr), f"queuectl: {told}")
        self.go_on(pool.pid)
        self.assertEqual(stop.wait(60), 0)
        self.assertEqual(pool.wait(60), 0)

    def test_a_foreground_pool_says_at_the_first_ctrl_c_what_it_waits_for(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                job = self.box.enqueue("-q", "echo begin >> ledger; sleep 60")
                pool = self.start("worker", "run", "--count", "2")
                self.box.wait_state(job, "processing")
                pool.send_signal(number)
                told = "queuectl: draining: 1 job runs to the end; once more to end them now\n"
                self.assertEqual(self.line(pool.stderr), told)
                pool.send_signal(number)
                _, err = pool.communicate(timeout=60)
                self.assertEqual((pool.returncode, err), (0, b""))
                self.box.ok("cancel", job)

    def test_it_says_nothing_where_nothing_runs_or_nobody_pressed_anything(self) -> None:
        idle = self.start("worker", "run")
        wait_for(self.box.workers, "the worker to be up")
        idle.send_signal(signal.SIGINT)
        self.assertEqual(idle.communicate(timeout=60), (b"", b""))
        gate = self.box.gate("gate")
        self.box.enqueue(f"echo begin >> ledger; cat {gate}")
        busy = self.start("worker", "run")
        wait_for(self.box.ledger, "the job to begin")
        self.box.ok("worker", "stop", "--no-wait")
        gate.open()
        self.assertEqual(busy.communicate(timeout=60), (b"", b""))


if __name__ == "__main__":
    unittest.main()
