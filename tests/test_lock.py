"""The write lock: who waits, for how long, and what is left of a wait that was given up."""

from __future__ import annotations

import _thread
import fcntl
import os
import signal
import subprocess
import sys
import unittest

from queuectl.errors import Busy
from queuectl.storage import lock
from tests.calls import CallTest
from tests.store import temporary
from tests.support import wait_a_moment, wait_for

HOLD = (
    "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
    "fcntl.flock(fd, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
)


class LockTest(unittest.TestCase):
    def setUp(self) -> None:
        self.path = temporary(self)
        self.fd = self.open()
        self.threads = _thread._count()

    def open(self) -> int:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, fd)
        return fd

    def held(self) -> bool:
        """Say whether anybody has the lock, by trying it from outside."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def quiet(self) -> None:
        """Wait until the threads that wait in our place are gone."""
        wait_for(lambda: _thread._count() <= self.threads, "the waiting threads to end")

    def assert_kept(self) -> None:
        """Look a few times: a late thread that takes the lock from us needs a moment for it."""
        for _ in range(5):
            self.assertTrue(self.held())
            wait_a_moment()

    def test_taken_and_let_go(self) -> None:
        lock.acquire(self.fd)
        self.assertTrue(self.held())
        lock.release(self.fd)
        self.assertFalse(self.held())

    def test_a_wait_ends_with_the_lock(self) -> None:
        other = self.open()
        fcntl.flock(other, fcntl.LOCK_EX)
        _thread.start_new_thread(lambda: fcntl.flock(other, fcntl.LOCK_UN), ())
        lock.acquire(self.fd)
        self.assert_kept()
        lock.release(self.fd)
        self.assertFalse(self.held())

    def test_who_gave_up_leaves_nothing_held(self) -> None:
        other = self.open()
        fcntl.flock(other, fcntl.LOCK_EX)
        for _ in range(3):
            with self.assertRaises(Busy):
                lock.acquire(self.fd, 0.001)
        fcntl.flock(other, fcntl.LOCK_UN)
        self.quiet()
        self.assertFalse(self.held())

    def test_who_gave_up_and_came_back_keeps_the_lock(self) -> None:
        for _ in range(3):
            other = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(other, fcntl.LOCK_EX)
            with self.assertRaises(Busy):
                lock.acquire(self.fd, 0.001)
            os.close(other)
            lock.acquire(self.fd)
            self.assert_kept()
            lock.release(self.fd)
            self.quiet()
            self.assertFalse(self.held())

    def test_the_descriptor_may_be_closed_while_a_thread_waits(self) -> None:
        other = self.open()
        fcntl.flock(other, fcntl.LOCK_EX)
        gone = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        with self.assertRaises(Busy):
            lock.acquire(gone, 0.001)
        os.close(gone)
        again = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self.assertEqual(again, gone)  # the number that the thread might think its own
        fcntl.flock(other, fcntl.LOCK_UN)
        lock.acquire(again)
        self.assert_kept()
        os.close(again)
        self.quiet()
        self.assertFalse(self.held())


class HolderTest(CallTest):
    def test_an_error_names_the_holder_and_whether_it_is_stopped(self) -> None:
        self.enqueue("true")
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, self.place.state],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(holder.communicate)
        assert holder.stdout is not None
        holder.stdout.readline()
        fd = os.open(self.place.state, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        with self.assertRaises(Busy) as caught:
            lock.acquire(fd, 0.001)
        self.assertIn(f"process {holder.pid} for", str(caught.exception))
        os.kill(holder.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, holder.pid, signal.SIGCONT)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        with self.assertRaises(Busy) as caught:
            lock.acquire(fd, 0.001)
        self.assertIn(f"process {holder.pid}, which is stopped,", str(caught.exception))
        self.assertEqual(self.ok("list", "-q").lines, ["1"])  # whoever reads waits for nobody


if __name__ == "__main__":
    unittest.main()
