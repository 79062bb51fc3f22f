"""What lists and status show, in which order, however it is put together."""

from __future__ import annotations

import unittest
from unittest import mock

from queuectl.job import Job
from queuectl.lifecycle import State
from queuectl.storage import listing, views
from tests.store import NOW, StoreTest


def merged(jobs: list[Job]) -> list[str]:
    """Sort jobs as a list must show them, the plain way; give their ids."""

    def place(job: Job) -> tuple[int, ...]:
        if job.state == "processing":
            return 0, job.started_at or 0, job.seq
        if job.ready:
            return 1, -job.priority, job.run_at, job.seq
        if job.finished_at is None:
            return 2, job.run_at, job.seq
        return 3, -job.finished_at, -job.seq

    return [job.id for job in sorted(jobs, key=place)]


class ListTest(StoreTest):
    def fill(self) -> None:
        """Put jobs into every state and reason, over several queues, labels and instants."""
        for number, queue in enumerate("abcabc"):
            for state in State:
                self.bring(state, f"{queue}-{state}-{number}", label=f"l{number % 2}")
            due = self.bring(State.FAILED, f"{queue}-due-{number}", label="l1", priority=number)
            self.store.release(due.id, NOW + number, at_once=True)
            self.add(NOW - number, queue=queue, priority=number % 3)
            self.add(NOW + number, queue=queue, priority=number % 2, label="l1")
            self.add(NOW - number, queue=queue, delay=60)
            self.add(NOW + number, queue=queue, hold=True)
            self.add(NOW, queue=queue, after=[self.add(NOW - number, queue=queue)])

    def test_every_limit_cuts_the_same_order(self) -> None:
        self.fill()
        everything = self.store.select({}, None)
        wanted = merged(everything)
        self.assertEqual([job.id for job in everything], wanted)
        self.assertEqual(len(wanted), sum(self.store.tally().values()))
        for limit in range(len(wanted) + 2):
            with self.subTest(limit=limit):
                found = [job.id for job in self.store.select({}, limit)]
                self.assertEqual(found, wanted[:limit])

    def test_a_filter_takes_its_part_of_that_order(self) -> None:
        self.fill()
        jobs = {job.id: job for job in self.store.select({}, None)}
        cases: list[dict[str, object]] = [
            *({"state": str(state)} for state in State),
            {"queue": "a"}, {"label": "l1"}, {"since": NOW + 1}, {"since": NOW},
            {"state": "pending", "queue": "b"}, {"label": "l0", "state": "dead"},
            {"state": "completed", "since": NOW}, {"state": "failed", "label": "l1"},
            {"state": "failed", "since": NOW + 3}, {"state": "failed", "queue": "a-due-3"},
            {"state": "dead", "queue": "b-dead-4"}, {"label": "l1", "since": NOW + 2},
        ]  # fmt: skip
        for filters in cases:
            wanted = [job_id for job_id, job in jobs.items() if self.fits(job, filters)]
            self.assertTrue(wanted, filters)
            for limit, few in ((None, 0), (None, 99), (1, 0), (1, 99), (3, 0), (3, 99)):
                with (
                    self.subTest(filters=filters, limit=limit, few=few),
                    mock.patch.object(listing, "FEW", few),  # a label is rare or it is not
                ):
                    found = [job.id for job in self.store.select(filters, limit)]
                    self.assertEqual(found, wanted[:limit])
                    self.assertEqual(self.store.select_ids(filters, limit), found)

    def test_a_state_that_does_not_exist_has_no_jobs(self) -> None:
        self.fill()
        self.assertEqual(self.store.select({"state": "x' OR 1"}, None), [])

    def fits(self, job: Job, filters: dict[str, object]) -> bool:
        since: int = filters.get("since", 0)  # type: ignore[assignment]
        plain = {key: value for key, value in filters.items() if key != "since"}
        return job.updated_at >= since and all(getattr(job, k) == v for k, v in plain.items())

    def test_the_unfinished_in_the_order_of_enqueueing(self) -> None:
        self.fill()
        jobs = self.store.select({}, None)
        for queue in (None, "a", "nobody's"):
            open_jobs = [
                job for job in jobs if job.finished_at is None and queue in (None, job.queue)
            ]
            wanted = [job.seq for job in sorted(open_jobs, key=lambda job: job.seq)]
            self.assertEqual([job.seq for job in self.store.unfinished(queue)], wanted)


class LastStartedTest(StoreTest):
    def test_none(self) -> None:
        self.add()
        self.assertIsNone(self.store.last_started())

    def last(self) -> str:
        job = self.store.last_started()
        assert job is not None
        return job.id

    def test_the_latest_start_over_all_queues(self) -> None:
        first, second = self.add(queue="a"), self.add(queue="b")
        self.claim("b", NOW + 1)
        self.assertEqual(self.last(), second)
        self.claim("a", NOW + 2)
        self.assertEqual(self.last(), first)

    def test_a_later_end_is_no_later_start(self) -> None:
        first, second = self.bring(State.PROCESSING), self.bring(State.COMPLETED)
        self.store.cancel(first.id, NOW + 5)
        self.assertEqual(self.last(), second.id)

    def test_where_that_one_is_deleted_the_one_before(self) -> None:
        first, second = self.bring(State.COMPLETED), self.bring(State.COMPLETED)
        self.store.delete(second.id, ("completed",))
        self.assertEqual(self.last(), first.id)


class OldestTest(StoreTest):
    def test_the_oldest_in_any_queue_and_priority(self) -> None:
        self.assertEqual(self.store.runnable(NOW), {})
        for age, queue, priority in ((3, "a", 5), (9, "a", -1), (7, "b", 0), (1, "c", 9)):
            self.add(NOW - age, queue=queue, priority=priority)
        self.add(NOW - 50, queue="a", hold=True)
        self.assertEqual(self.store.runnable(NOW), {"a": NOW - 9, "b": NOW - 7, "c": NOW - 1})
        self.store.set_paused("a", True)
        self.assertEqual(self.store.runnable(NOW), {"b": NOW - 7, "c": NOW - 1})


class AheadTest(StoreTest):
    def test_who_comes_before_by_priority_then_time_in_open_queues_only(self) -> None:
        first = self.add(NOW - 5, queue="a")
        mine = self.add(NOW, queue="a", priority=1)
        self.add(NOW, queue="a", priority=2)
        self.add(NOW, queue="b", priority=1)
        self.add(NOW - 9, queue="c", priority=1)
        self.add(NOW - 9, queue="shut", priority=9)
        self.add(NOW - 9, queue="a", priority=9, hold=True)
        self.store.set_paused("shut", True)
        for job_id, queues, wanted in (
            (mine, (), 2), (mine, ("a",), 1), (mine, ("a", "b"), 1),
            (first, (), 4), (first, ("a",), 2),
        ):  # fmt: skip
            with self.subTest(job_id, queues=queues):
                self.assertEqual(self.store.ahead(self.store.job(job_id), queues), wanted)

    def test_the_count_stops_where_nobody_wants_it_exact(self) -> None:
        with mock.patch.object(views, "AHEAD_LIMIT", 3):
            for number in range(6):
                self.add(NOW, queue=f"q{number % 2}", priority=1)
            last = self.store.job(self.add(NOW))
            self.assertEqual(self.store.ahead(last, ()), 3)


class EndedTest(StoreTest):
    def test_the_oldest_first_whatever_their_state(self) -> None:
        ids = [self.bring(State.COMPLETED, "a").id, self.bring(State.CANCELLED, "b").id]
        late = self.add(queue="c")
        self.store.cancel(late, NOW + 9)
        states = ("cancelled", "completed")
        gone = [job.id for job in self.store.delete_ended(states, NOW + 9, 5)]
        self.assertEqual(sorted(gone), sorted(ids))
        self.assertEqual(self.store.count_ended(states, None), 1)
        self.assertEqual([job.id for job in self.store.delete_ended(states, None, 5)], [late])


if __name__ == "__main__":
    unittest.main()
