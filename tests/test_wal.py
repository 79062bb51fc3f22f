"""The write-ahead log stays short, whoever writes: clients one after the other, or workers."""

from __future__ import annotations

import os
import unittest

from queuectl.place import Place
from queuectl.storage import Storage
from queuectl.storage.sqlite import WAL_CUT_FRAMES
from tests.store import NOW, StoreTest, all_at_once, row

# One small transaction may still come on top.
LIMIT_BYTES = 32 + (WAL_CUT_FRAMES + 32) * 4120


class WalTest(StoreTest):
    def size(self, place: Place | None = None) -> int:
        return os.stat(f"{(place or self.place).db}-wal").st_size

    def test_clients_that_are_alone_leave_it_short(self) -> None:
        place = Place(str(self.dir / "alone.db"))

        def enqueue() -> None:
            Storage(place).insert([row()], NOW)  # and the process ends without closing it

        largest = 0
        for _ in range(120):
            self.assertEqual(all_at_once(1, enqueue), [0])
            largest = max(largest, self.size(place))
        self.assertLess(largest, LIMIT_BYTES)
        store = Storage(place)
        self.addCleanup(store.close)
        self.assertEqual(store.tally(), {"pending": 120})

    def test_a_worker_writes_over_it(self) -> None:
        for _ in range(120):
            self.add()
        for _ in range(120):
            self.store.claim(self.worker, NOW)
        self.assertLess(self.size(), LIMIT_BYTES)

    def test_a_long_reader_does_not_leave_it_long(self) -> None:
        other = self.db()
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM job").fetchone()
        for _ in range(200):
            self.add()
        self.assertGreater(self.size(), LIMIT_BYTES)  # nothing that it sees may be written over
        other.execute("COMMIT")
        self.add()
        self.assertEqual(self.size(), 0)


if __name__ == "__main__":
    unittest.main()
