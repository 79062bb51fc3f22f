"""Whose turn it is: priority, then since when it is runnable, then the order of enqueueing."""

from __future__ import annotations

import dataclasses
import itertools
import random
import unittest

from queuectl import spec
from queuectl.lifecycle import Kind, State
from tests.calls import CallTest
from tests.store import DAY, NOW, StoreTest, enlist


class OrderTest(StoreTest):
    def order(self, now: int = NOW, queues: str | None = None) -> list[str]:
        """Claim until nothing is left; give the ids in that order."""
        worker = dataclasses.replace(self.worker, queues=queues)
        claims = iter(lambda: self.store.claim(worker, now), None)
        return [job.id for job in claims if job]

    def test_first_come_first_served(self) -> None:
        ids = [self.add() for _ in range(12)]
        self.assertEqual(self.order(), ids)

    def test_a_higher_priority_first_and_a_negative_one_last(self) -> None:
        low, normal, high = (self.add(priority=p) for p in (-5, 0, 7))
        also = self.add(priority=7)
        self.assertEqual(self.order(), [high, also, normal, low])

    def test_every_order_of_arrival_gives_the_same_turns(self) -> None:
        for number, arrival in enumerate(itertools.permutations((3, 1, 2))):
            queue = f"q{number}"
            for priority in arrival:
                self.add(queue=queue, priority=priority, label=str(priority))
            turns = [self.store.job(one).label for one in self.order(queues=queue)]
            self.assertEqual(turns, ["3", "2", "1"])

    def test_by_the_moment_of_becoming_runnable(self) -> None:
        delayed = self.add(NOW, delay=10)
        early = self.add(NOW + 9_999)
        late = self.add(NOW + 10_001)
        self.assertEqual(self.order(NOW + 20_000), [early, delayed, late])

    def test_not_before_its_time(self) -> None:
        delayed = self.add(NOW, delay=10)
        self.assertEqual(self.order(NOW + 9_999), [])
        self.assertEqual(self.store.outlook(self.worker, NOW), NOW + 10_000)
        self.assertEqual(self.order(NOW + 10_000), [delayed])
        self.assertIsNone(self.store.outlook(self.worker, NOW + 10_000))

    def test_at_an_instant(self) -> None:
        job_id = self.add(NOW, at="2027-01-15T08:00:00.500Z")  # NOW is 08:00:00
        self.assertEqual(self.order(NOW + 499), [])
        self.assertEqual(self.order(NOW + 500), [job_id])

    def test_a_past_instant_has_the_older_claim(self) -> None:
        first = self.add(NOW)
        past = self.add(NOW, at="2027-01-15T07:00:00Z")
        self.assertEqual(self.order(), [past, first])

    def test_a_failed_one_comes_back_behind_those_that_were_runnable_before(self) -> None:
        failed = self.bring(State.FAILED, max_retries=3)  # runnable again at NOW + 2 s
        before, after = self.add(NOW + 1_999), self.add(NOW + 2_001)
        self.assertEqual(self.order(NOW + 5_000), [before, failed.id, after])

    def test_an_interrupted_one_keeps_its_place(self) -> None:
        first, second = self.add(), self.add()
        job = self.claim()
        self.finish(job, Kind.INTERRUPTED, NOW + 5)
        self.assertEqual(self.order(NOW + 5), [first, second])

    def test_a_retried_one_comes_last(self) -> None:
        dead = self.bring(State.DEAD)
        waits = self.add(NOW + 1)
        self.store.retry([dead.id], None, NOW + 2)
        self.assertEqual(self.order(NOW + 2), [waits, dead.id])

    def test_a_priority_holds_across_queues(self) -> None:
        a, b, c = (self.add(queue=q, priority=p) for q, p in (("a", 1), ("b", 3), ("c", 2)))
        self.assertEqual(self.order(), [b, c, a])

    def test_only_of_the_queues_that_are_served(self) -> None:
        a, b, c = (self.add(queue=q) for q in "abc")
        self.assertEqual(self.order(queues="c,a"), [a, c])
        self.assertEqual(self.order(queues="nobody"), [])
        self.assertEqual(self.order(), [b])

    def test_due_in_hundreds_none_is_forgotten(self) -> None:
        ids = [self.add(NOW, delay=10) for _ in range(250)]
        self.assertEqual(self.order(NOW + DAY), ids)

    def test_against_a_plain_sort(self) -> None:
        dice = random.Random(11)
        expected = []
        for seq in range(120):
            priority, delay = dice.randrange(3), dice.randrange(4)
            job_id = self.add(NOW + dice.randrange(3_000), priority=priority, delay=delay)
            job = self.store.job(job_id)
            expected.append((-job.priority, job.run_at, seq, job_id))
        # Everything is promoted at once: fewer than a hundred become due at a time.
        for now in range(NOW, NOW + 8_000, 500):
            self.store.outlook(self.worker, now)
        self.store.claim(self.serving("nobody"), NOW + DAY)
        self.store.claim(self.serving("nobody"), NOW + DAY)
        self.assertEqual(self.order(NOW + DAY), [job_id for *_, job_id in sorted(expected)])


class ListedOrderTest(CallTest):
    def test_what_runs_then_what_runs_next_then_what_ended_last(self) -> None:
        low = self.enqueue("--priority", "-1", "low")
        high = self.enqueue("--priority", "5", "high")
        later = self.enqueue("--delay", "1h", "later")
        sooner = self.enqueue("--delay", "1m", "sooner")
        gone = [self.enqueue("gone") for _ in range(2)]
        for one in gone:
            self.ok("cancel", one)
        running = self.enqueue("--queue", "r", "running")
        with self.store() as store:
            store.claim(dataclasses.replace(enlist(store), queues="r"), spec.now_ms())
        wanted = [running, high, low, sooner, later, *reversed(gone)]
        self.assertEqual(self.ok("list", "-q").lines, wanted)
        self.assertEqual(self.ok("list", "-q", "--limit", "3").lines, wanted[:3])
        self.assertEqual(self.ok("list", "-q", "--state", "cancelled").lines, wanted[-2:])

    def test_fifty_rows_unless_told_and_it_says_so(self) -> None:
        lines = "".join(f"echo {n}\n" for n in range(60)).encode()
        self.ok("enqueue", "-q", "--file", "-", stdin=lines)
        said = self.ok("list")
        self.assertEqual(len(said.lines), 1 + 50)
        self.assertIn("--all", said.err)
        for words, count in ((("--all",), 61), (("--limit", "55"), 56), (("-q",), 60)):
            with self.subTest(words):
                self.assertEqual(len(self.ok("list", *words).lines), count)
                self.assertEqual(self.ok("list", *words).err, "")


if __name__ == "__main__":
    unittest.main()
