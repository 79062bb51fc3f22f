"""What counts as proof that nothing is left of a lost run."""

from __future__ import annotations

import fcntl
import secrets
import subprocess
import sys
import unittest

from queuectl import spec
from queuectl.worker import tree, upkeep
from queuectl.worker.alive import Seat
from tests.store import ClockTest, temporary
from tests.support import LINUX, wait_for

# Another process in another session each time somebody looks. It ends by itself after a while.
CHAIN = """
import os, time
end = time.monotonic() + 20
os.mkdir("runs")
while time.monotonic() < end and not os.path.exists("stop"):
    if os.fork():
        os._exit(0)
    os.setsid()
os.rmdir("runs")
"""


@unittest.skipUnless(LINUX, "it looks into /proc")
class ChainTest(unittest.TestCase):
    def test_a_chain_that_forks_and_ends_is_never_taken_for_gone(self) -> None:
        here = temporary(self)
        mark = f"CHAIN={secrets.token_hex(8)}"
        key, _, value = mark.partition("=")
        words = [sys.executable, "-I", "-S", "-c", CHAIN]
        subprocess.run(words, cwd=here, env={key: value}, check=True)
        wait_for((here / "runs").exists, "the chain")
        looks = [tree.remains((0, 0), "", [mark.encode()], lambda: False) for _ in range(20)]
        self.assertTrue((here / "runs").exists(), "it ended while it was looked for")
        (here / "stop").touch()
        wait_for(lambda: not (here / "runs").exists(), "the chain to end")
        self.assertNotIn([], looks)
        gone = wait_for(
            lambda: not tree.remains((0, 0), "", [mark.encode()], lambda: False),
            "nobody to be left",
        )
        self.assertTrue(gone)


@unittest.skipUnless(LINUX, "it looks into /proc")
class HeldLockTest(ClockTest):
    def setUp(self) -> None:
        super().setUp()
        self.seat = Seat(self.queue.place, "worker")
        self.addCleanup(self.seat.leave)
        self.seat.open_exec_lock()
        record = self.seat.record(spec.now_ms()) | {"pool": self.worker.pool}
        self.worker = self.storage.enlist_worker(record)

    def recover(self) -> bool:
        return upkeep.recover(self.storage, self.queue.place, self.worker, list)

    def test_a_job_whose_lock_is_held_is_not_put_back_though_nobody_is_met(self) -> None:
        # The holder is this process, which does not take itself for a remnant: nobody is met.
        self.queue.enqueue("true")
        job = self.claim()
        assert job is not None
        self.assertFalse(self.recover())
        stuck = self.storage.job(job.id)
        self.assertEqual((stuck.state, stuck.run), ("processing", 1))
        self.assertIn("cannot be ended", str(stuck.stuck))
        fcntl.flock(self.seat.exec_fd, fcntl.LOCK_UN)
        self.assertTrue(self.recover())
        self.assertEqual(self.storage.job(job.id).state, "failed")
