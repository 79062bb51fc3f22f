"""The life of a job as pure functions: what follows a run, and when."""

from __future__ import annotations

import dataclasses
import unittest

from queuectl.job import Job
from queuectl.lifecycle import ENDED, TRANSITIONS, WAITING, Kind, Outcome, State, backoff, decide

NOW = 1_800_000_000_000
RUN_AT = NOW - 5_000


def job(**changes: object) -> Job:
    """Give a job that is being processed, with these fields."""
    values: dict[str, object] = {field.name: None for field in dataclasses.fields(Job)}
    values |= {"state": "processing", "attempts": 1, "max_retries": 3, "backoff_base": 2.0}
    values |= {"backoff_max_s": 86_400.0, "run_at": RUN_AT}
    return Job(**{**values, **changes})  # type: ignore[arg-type]


class BackoffTest(unittest.TestCase):
    def test_it_is_base_to_the_power_of_the_attempt(self) -> None:
        for base, attempt, wait_s in (
            (2, 1, 2), (2, 2, 4), (2, 3, 8), (2, 10, 1024),
            (3, 2, 9), (1, 7, 1), (1.5, 2, 2.25), (0, 1, 0), (0, 9, 0), (0.5, 2, 0.25),
        ):  # fmt: skip
            with self.subTest(base=base, attempt=attempt):
                self.assertEqual(backoff(attempt, base, 1e6), wait_s)

    def test_it_never_exceeds_the_limit(self) -> None:
        for base, attempt in ((2, 17), (2, 1023), (2, 1024), (2, 10**9), (1e9, 40), (1e9, 10**9)):
            with self.subTest(base=base, attempt=attempt):
                self.assertEqual(backoff(attempt, base, 86_400), 86_400)
        self.assertEqual(backoff(3, 2, 0), 0)

    def test_jitter_lengthens_it_but_not_beyond_the_limit(self) -> None:
        self.assertEqual(backoff(2, 2, 100, jitter=0.5), 6)
        self.assertEqual(backoff(2, 2, 5, jitter=0.5), 5)


class DecideTest(unittest.TestCase):
    def test_what_follows_each_kind_of_end(self) -> None:
        for kind, state, attempts in (
            (Kind.SUCCEEDED, State.COMPLETED, 2),
            (Kind.FAILED, State.FAILED, 2),
            (Kind.TIMED_OUT, State.FAILED, 2),
            (Kind.LOST, State.FAILED, 2),
            (Kind.CANCELLED, State.CANCELLED, 2),
            (Kind.INTERRUPTED, State.PENDING, 1),
        ):
            with self.subTest(kind=kind):
                verdict = decide(job(attempts=2), Outcome(kind), NOW)
                self.assertEqual((verdict.state, verdict.attempts), (state, attempts))

    def test_max_retries_counts_reruns(self) -> None:
        for retries in (0, 1, 3):
            for attempt in range(1, retries + 1):
                with self.subTest(retries=retries, attempt=attempt):
                    now = job(attempts=attempt, max_retries=retries)
                    self.assertEqual(decide(now, Outcome(Kind.FAILED), NOW).state, State.FAILED)
            last = job(attempts=retries + 1, max_retries=retries)
            for kind in (Kind.FAILED, Kind.TIMED_OUT, Kind.LOST):
                with self.subTest(retries=retries, last=kind):
                    self.assertEqual(decide(last, Outcome(kind), NOW).state, State.DEAD)

    def test_the_last_attempt_may_still_succeed_or_be_taken_back(self) -> None:
        last = job(attempts=4)
        self.assertEqual(decide(last, Outcome(Kind.SUCCEEDED), NOW).state, State.COMPLETED)
        self.assertEqual(decide(last, Outcome(Kind.INTERRUPTED), NOW).attempts, 3)

    def test_a_failure_waits_for_its_backoff(self) -> None:
        for attempt, wait_ms in ((1, 2_000), (2, 4_000), (3, 8_000)):
            verdict = decide(job(attempts=attempt), Outcome(Kind.FAILED), NOW)
            self.assertEqual(verdict.run_at, NOW + wait_ms)

    def test_a_backoff_that_overflows_is_clamped(self) -> None:
        far = job(attempts=5_000, max_retries=10_000, backoff_base=1e9)
        self.assertEqual(decide(far, Outcome(Kind.FAILED), NOW).run_at, NOW + 86_400_000)

    def test_jitter_reaches_the_backoff(self) -> None:
        self.assertEqual(decide(job(), Outcome(Kind.FAILED), NOW, jitter=1.0).run_at, NOW + 4_000)

    def test_an_interrupted_job_keeps_its_place_in_line(self) -> None:
        self.assertEqual(decide(job(), Outcome(Kind.INTERRUPTED), NOW).run_at, RUN_AT)

    def test_a_start_that_the_machine_refused_is_put_off(self) -> None:
        verdict = decide(job(), Outcome(Kind.INTERRUPTED, pause_s=1.5), NOW)
        self.assertEqual((verdict.run_at, verdict.attempts), (NOW + 1_500, 0))

    def test_some_exit_codes_are_final(self) -> None:
        final = job(no_retry_on="2,64")
        for code, state in ((2, State.DEAD), (64, State.DEAD), (6, State.FAILED), (1, "failed")):
            with self.subTest(code=code):
                outcome = Outcome(Kind.FAILED, exit_code=code)
                self.assertEqual(decide(final, outcome, NOW).state, state)

    def test_once_we_have_signalled_it_the_reason_decides_not_the_status(self) -> None:
        outcome = Outcome(Kind.TIMED_OUT, exit_code=2)
        self.assertEqual(decide(job(no_retry_on="2"), outcome, NOW).state, State.FAILED)
        outcome = Outcome(Kind.CANCELLED, exit_code=0)
        self.assertEqual(decide(job(), outcome, NOW).state, State.CANCELLED)

    def test_every_verdict_is_a_transition_of_finish(self) -> None:
        seen = {
            decide(job(attempts=attempt), Outcome(kind), NOW).state
            for kind in Kind
            for attempt in (1, 4)
        }
        self.assertEqual(seen, TRANSITIONS["finish"][State.PROCESSING])


class StatesTest(unittest.TestCase):
    def test_every_state_waits_or_runs_or_has_ended(self) -> None:
        self.assertEqual({*WAITING, *ENDED, State.PROCESSING}, set(State))


if __name__ == "__main__":
    unittest.main()
