"""What counts as proof that nothing is left of a lost run."""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import unittest

from queuectl import spec
from queuectl.worker import alive, tree, upkeep
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

    def test_a_dead_pool_keeps_its_lock_file_as_long_as_it_is_registered(self) -> None:
        dead = Seat(self.queue.place, "pool")
        self.addCleanup(dead.leave)
        record = {**dead.record(spec.now_ms()), "birth": "gone"}
        pool = self.storage.enlist_pool({**record, "background": 1, "queues": None})
        mine = {**self.seat.record(spec.now_ms()), "birth": "gone", "pool": pool.id}
        self.worker = self.storage.enlist_worker(mine)
        self.queue.enqueue("true")
        job = self.claim()
        assert job is not None
        for fd in (dead._fds[0], self.seat._fds[0]):
            fcntl.flock(fd, fcntl.LOCK_UN)  # as if they had been killed
        self.assertFalse(upkeep.recover_orphans(self.storage, self.queue.place))
        self.assertTrue(os.path.exists(dead._paths[0]))
        fcntl.flock(self.seat.exec_fd, fcntl.LOCK_UN)
        self.assertTrue(upkeep.recover_orphans(self.storage, self.queue.place))
        self.assertEqual(self.storage.job(job.id).state, "failed")
        self.assertFalse(os.path.exists(dead._paths[0]))

    def test_a_lock_whose_inode_is_another_file_now_is_nobodys(self) -> None:
        # As after a deletion of run/: the file system gives the number of the dead one's lock away.
        taken = self.seat.record(spec.now_ms())
        gone = {**taken, "birth": "gone", "lock": "worker-1-gone", "pool": self.worker.pool}
        record = self.storage.enlist_worker(gone)
        self.assertFalse(alive.is_alive(self.queue.place, record))
        self.assertFalse(alive.has_heirs(self.queue.place, record))
        self.assertEqual(alive.inherited_lock(self.queue.place, record), (0, 0))

    def test_a_deleted_lock_file_makes_nobody_dead(self) -> None:
        mine = {**self.seat.record(spec.now_ms()), "birth": "gone", "pool": self.worker.pool}
        record = self.storage.enlist_worker(mine)
        for path in self.seat._paths:
            os.unlink(path)
        self.assertTrue(alive.is_alive(self.queue.place, record))
        self.assertTrue(alive.has_heirs(self.queue.place, record))
