"""Queues: pause, concurrency and slots, rates; over all workers and pools together."""

from __future__ import annotations

import json
import unittest

from queuectl.errors import UsageError
from queuectl.lifecycle import Kind
from tests.store import ClockTest
from tests.support import QueueTest, wait_for

# A job that writes a line when it starts and one when it ends, with the slots it holds.
LOGGED = """sh -c 'echo "+ $QUEUECTL_JOB_SLOTS" >> ledger
sleep 0.0$0
echo "- $QUEUECTL_JOB_SLOTS" >> ledger' {}"""


def held_at_once(lines: list[str]) -> list[list[str]]:
    """Give, after each line of a ledger, the slots that are held."""
    held: list[str] = []
    history = []
    for line in lines:
        sign, _, slots = line.partition(" ")
        for slot in slots.split(","):
            held.append(slot) if sign == "+" else held.remove(slot)
        history.append(sorted(held))
    return history


class SlotTest(ClockTest):
    def test_slots_are_taken_in_order_of_preference(self) -> None:
        self.queue.limit("default", ["7", "5", "6"])
        for slots in (1, 2):
            self.queue.enqueue("true", slots=slots)
        first, second = self.claim(), self.claim()
        self.assertEqual((first.slots_held, second.slots_held), ("7", "5,6"))
        self.queue.enqueue("true")
        self.assertIsNone(self.claim())
        self.finish(first, Kind.SUCCEEDED)
        self.assertEqual(self.claim().slots_held, "7")

    def test_nothing_overtakes_a_head_that_does_not_fit(self) -> None:
        self.queue.limit("default", ["0", "1"])
        self.queue.enqueue("true")
        self.queue.enqueue("true", slots=2)
        self.queue.enqueue("true")
        first = self.claim()
        self.assertIsNone(self.claim())
        other = self.queue.enqueue("true", queue="other")
        self.assertEqual(self.claim().id, other)  # no other queue waits for it
        self.finish(first, Kind.SUCCEEDED)
        self.assertEqual(self.claim().slots, 2)

    def test_one_that_never_fits_is_refused(self) -> None:
        self.queue.limit("default", ["0", "1"])
        with self.assertRaises(UsageError):
            self.queue.enqueue("true", slots=3)
        job = self.queue.enqueue("true", slots=3, queue="wide")
        self.queue.limit("wide", ["0"])
        self.assertIsNone(self.claim())
        with self.assertRaises(UsageError):
            self.queue.edit(job, queue="default")

    def test_a_limit_that_sinks_while_jobs_run_holds_at_once(self) -> None:
        self.queue.limit("default", ["0", "1", "2"])
        for _ in range(6):
            self.queue.enqueue("true")
        running = [self.claim() for _ in range(3)]
        self.queue.limit("default", ["0", "1"])
        for count, job in zip((2, 1), running, strict=False):
            self.assertIsNone(self.claim())
            self.finish(job, Kind.SUCCEEDED)
            self.assertEqual(len(self.storage.processing()), count)
        self.assertIsNotNone(self.claim())
        self.assertIsNone(self.claim())

    def test_a_limit_set_while_jobs_run_without_one_counts_them(self) -> None:
        for _ in range(4):
            self.queue.enqueue("true")
        running = [self.claim() for _ in range(2)]
        self.queue.limit("default", ["0", "1"])
        self.assertIsNone(self.claim())
        self.finish(running[0], Kind.SUCCEEDED)
        self.assertEqual(self.claim().slots_held, "0")
        self.queue.limit("default", None)
        self.assertIsNone(self.claim().slots_held)

    def test_names_may_stand_twice(self) -> None:
        self.queue.limit("default", ["0", "0", "1", "1"])
        for _ in range(5):
            self.queue.enqueue("true")
        held = [self.claim().slots_held for _ in range(4)]
        self.assertEqual(held, ["0", "0", "1", "1"])
        self.assertIsNone(self.claim())


class RateTest(ClockTest):
    def test_no_window_has_more_starts(self) -> None:
        self.queue.limit_rate("default", 3, 1.0)
        for _ in range(12):
            self.queue.enqueue("true")
        starts = []
        for _ in range(200):
            while job := self.claim():
                starts.append(job.started_at)
            self.now += 50
        self.assertEqual(len(starts), 12)
        for number in range(len(starts) - 3):
            self.assertGreaterEqual(starts[number + 3] - starts[number], 1000)

    def test_the_next_opening_is_known(self) -> None:
        self.queue.limit_rate("default", 1, 5.0)
        self.queue.enqueue("true")
        self.queue.enqueue("true")
        self.claim()
        self.assertEqual(self.storage.outlook(self.worker, self.now), self.now + 5000)

    def test_workers_that_come_late_with_an_old_clock_are_counted_right(self) -> None:
        self.queue.limit_rate("default", 3, 1.0)
        for _ in range(6):
            self.queue.enqueue("true")
        starts = [self.claim().started_at, self.claim().started_at]
        self.now += 1500
        starts.append(self.claim().started_at)  # the first two are forgotten now
        for _ in range(2):
            late = self.storage.claim(self.worker, starts[0] + 900)
            starts += [late.started_at] if late else []
        starts.sort()
        for number in range(len(starts) - 3):
            self.assertGreaterEqual(starts[number + 3] - starts[number], 1000)

    def test_a_clock_that_is_set_back_does_not_block_the_queue(self) -> None:
        self.queue.limit_rate("default", 1, 1.0)
        for _ in range(2):
            self.queue.enqueue("true")
        self.now = 2 * 3_600_000 + self.queue.job("1").created_at
        self.claim()
        self.now = 0
        self.assertIsNotNone(self.claim())

    def test_starts_before_the_limit_count(self) -> None:
        for _ in range(3):
            self.queue.enqueue("true")
        self.claim()
        self.claim()
        self.queue.limit_rate("default", 2, 3600.0)
        self.assertIsNone(self.claim())


class QueueCommandTest(QueueTest):
    def test_three_slots_for_eight_workers_in_two_pools(self) -> None:
        self.box.ok("queue", "set", "default", "--concurrency", "3")
        jobs = [
            json.dumps({"command": LOGGED.format(number % 5), "slots": number % 3 + 1})
            for number in range(60)
        ]
        self.box.ok("enqueue", "--file", "-", stdin="\n".join(jobs).encode())
        self.box.ok("worker", "start", "--count", "4")
        self.box.ok("worker", "start", "--count", "4")
        self.box.ok("wait", "--timeout", "120s")
        lines = self.box.ledger()
        self.assertEqual(len(lines), 120)
        for held in held_at_once(lines):
            self.assertLessEqual(len(held), 3)
            self.assertEqual(len(set(held)), len(held), "a slot is held twice")

    def test_pause_survives_and_resume_wakes(self) -> None:
        self.box.ok("queue", "pause", "slow")
        again = self.box.ok("queue", "pause", "slow")
        self.assertIn("already", again.err)
        waiting = self.box.enqueue("echo ran >> ledger", "--queue", "slow")
        self.box.ok("worker", "start")
        other = self.box.enqueue("true")
        self.box.wait_state(other, "completed")
        self.assertEqual(self.box.job(waiting)["waiting_for"], "paused")
        self.box.ok("queue", "resume", "slow")
        wait_for(lambda: self.box.ledger() == ["ran"], "the job to run after resume")

    def test_a_pause_of_all_holds_for_queues_named_later(self) -> None:
        self.box.ok("queue", "pause", "known")
        self.box.ok("queue", "pause")
        late = self.box.enqueue("echo late >> ledger", "--queue", "late")
        moved = self.box.enqueue("echo moved >> ledger", "--queue", "known")
        self.box.ok("edit", moved, "--queue", "moved")
        self.box.ok("queue", "set", "limited", "--concurrency", "2")
        paused = {q["name"] for q in self.box.ok("queue", "list", "--json").json if q["paused"]}  # type: ignore[attr-defined]
        self.assertEqual(paused, {"known", "late", "moved", "limited"})
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(self.box.ledger(), [])
        self.assertEqual(self.box.job(late)["waiting_for"], "paused")
        self.box.ok("queue", "resume", "late")  # the others stay
        self.box.enqueue("echo later >> ledger", "--queue", "later")
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(self.box.ledger(), ["late"])
        self.box.ok("queue", "resume")
        self.box.enqueue("echo last >> ledger", "--queue", "last")
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(sorted(self.box.ledger()), ["last", "late", "later", "moved"])
        self.assertNotIn("pause-all", self.box.ok("config", "list").out)

    def test_a_queue_that_nobody_named_is_not_resumed(self) -> None:
        self.box.enqueue("true")
        result = self.box.run("queue", "resume", "never-seen")
        self.assertEqual((result.code, result.out, result.err.count("\n")), (3, "", 1), result)
        names = [queue["name"] for queue in self.box.ok("queue", "list", "--json").json]  # type: ignore[attr-defined]
        self.assertEqual(names, ["default"])

    def test_a_limit_that_a_waiting_job_never_fits_is_told(self) -> None:
        for flags in ((), ("--hold",), ("--delay", "1h")):
            self.box.enqueue("true", "--queue", "gpu", "--slots", "4", *flags)
        self.box.enqueue("true", "--queue", "gpu", "--slots", "2")
        self.box.enqueue("true", "--slots", "4")
        result = self.box.ok("queue", "set", "gpu", "--concurrency", "3")
        told = [f"queuectl: job {n} needs 4 slots: it can never run now" for n in (1, 3, 2)]
        self.assertEqual(result.err.splitlines(), told)
        self.assertEqual(self.box.ok("queue", "set", "gpu", "--concurrency", "4").err, "")

    def test_bad_limits_change_nothing(self) -> None:
        for words in (
            ("--rate", "0/1s"),
            ("--rate", "3"),
            ("--rate", "3/0s"),
            ("--concurrency", "0"),
            ("--concurrency", "-1"),
            ("--slots", "a,,b"),
            (),
        ):
            result = self.box.run("queue", "set", "q", *words)
            self.assertEqual((result.code, result.err.count("\n")), (2, 1), words)
        self.assertEqual(self.box.ok("queue", "list", "--json").json, [])


if __name__ == "__main__":
    unittest.main()
