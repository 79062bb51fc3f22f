"""Whether anybody serves a queue, told by the bells of those who live."""

from __future__ import annotations

import os
import unittest

from queuectl.place import Place, make_private
from queuectl.wake import Bell, is_served
from tests.store import temporary


class ServedTest(unittest.TestCase):
    def setUp(self) -> None:
        self.place = Place(str(temporary(self) / "q.db"))
        make_private(self.place.state)

    def bell(self, queues: str | None) -> Bell:
        bell = Bell(self.place, f"worker-{queues}", queues)
        self.addCleanup(bell.close)
        return bell

    def test_by_a_worker_of_that_queue_or_of_all(self) -> None:
        self.assertFalse(is_served(self.place, "a"))
        bell = self.bell("a,b")
        self.assertEqual([is_served(self.place, q) for q in ("a", "b", "ab")], [True, True, False])
        bell.idle(True)
        self.assertTrue(is_served(self.place, "a"))
        bell.close()
        self.assertFalse(is_served(self.place, "a"))
        self.bell(None)
        self.assertTrue(is_served(self.place, "anything"))

    def test_not_by_a_supervisor_nor_by_what_a_killed_worker_left(self) -> None:
        self.bell("-")
        os.mkfifo(os.path.join(self.place.run, "idle", "worker-9+all"), 0o600)
        self.assertFalse(is_served(self.place, "a"))


if __name__ == "__main__":
    unittest.main()
