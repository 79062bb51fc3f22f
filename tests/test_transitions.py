"""Every verb of storage from every state, on a real file, compared with lifecycle.TRANSITIONS."""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Callable

from queuectl.errors import Conflict, NotFound
from queuectl.job import Job
from queuectl.lifecycle import ENDED, TRANSITIONS, WAITING, Kind, Outcome, State, decide
from tests.store import DAY, NOW, StoreTest

LATER = NOW + DAY  # by then every backoff is over


class TransitionsTest(StoreTest):
    def test_every_verb_from_every_state(self) -> None:
        found: dict[str, dict[State, frozenset[State]]] = {}
        for verb, tries in self._verbs().items():
            found[verb] = {}
            for state in State:
                reached = {self._moved(state, do, f"{verb}-{i}") for i, do in enumerate(tries)}
                reached.discard(None)
                if reached:
                    found[verb][state] = frozenset(filter(None, reached))
        self.assertEqual(found, TRANSITIONS)

    def _verbs(self) -> dict[str, list[Callable[[Job], object]]]:
        """Give the ways to do each verb to a job; each may refuse in words or in its answer."""
        return {
            "claim": [lambda job: self.store.claim(self.serving(job.queue), LATER)],
            "finish": [
                lambda job, kind=kind, retries=retries: self.finish(  # type: ignore[misc]
                    dataclasses.replace(job, max_retries=retries), kind, exit_code=1
                )
                for kind in Kind
                for retries in (0, 1)
            ],
            "cancel": [lambda job: self.store.cancel(job.id, LATER)],
            "retry": [
                lambda job: self.store.retry([job.id], None, LATER),
                lambda job: self.store.retry((), job.queue, LATER),
            ],
        }

    def _moved(self, state: State, do: Callable[[Job], object], queue: str) -> State | None:
        """Do it to a job in this state; give the state that it reached, None for a refusal."""
        before = self.bring(state, f"{queue}-{state}")
        runs = self.store.runs(before)
        try:
            done = bool(do(before))
        except Conflict:
            done = False
        after = self.store.job(before.id)
        if after.state != state:
            self.assertTrue(done, f"{queue} from {state} moved the job and denied it")
            return State(after.state)
        if done:  # the one thing that may be done to a job without moving it: asking for its end
            self.assertEqual((queue[:6], state), ("cancel", State.PROCESSING))
            self.assertEqual(after, dataclasses.replace(before, cancel_asked_at=LATER))
            return None
        self.assertEqual(after, before, "a refusal changed the row")
        self.assertEqual(self.store.runs(before), runs, "a refusal changed a run")
        return None


class FenceTest(StoreTest):
    def test_a_stale_run_cannot_be_finished(self) -> None:
        self.add()
        stale = self.claim()
        self.finish(stale, Kind.LOST)
        fresh = self.claim(now=LATER)
        self.assertEqual((stale.id, fresh.run), (fresh.id, stale.run + 1))
        for kind in Kind:
            with self.subTest(kind=kind):
                self.assertFalse(self.finish(stale, kind, exit_code=0))
                self.assertEqual(self.store.job(fresh.id), fresh)
        self.assertTrue(self.finish(fresh, Kind.SUCCEEDED, exit_code=0))
        self.assertEqual([run.outcome for run in self.store.runs(fresh)], ["lost", "succeeded"])

    def test_the_fence_holds_where_attempts_are_the_same(self) -> None:
        self.add()
        stale = self.claim()
        self.finish(stale, Kind.INTERRUPTED)
        fresh = self.claim()
        self.assertEqual((stale.attempts, fresh.attempts), (1, 1))
        self.assertFalse(self.finish(stale, Kind.SUCCEEDED))
        self.assertEqual(self.store.job(fresh.id), fresh)

    def test_the_fence_outlives_a_retry(self) -> None:
        dead = self.bring(State.DEAD)
        self.store.retry([dead.id], None, NOW)
        fresh = self.claim()
        self.assertEqual((fresh.run, fresh.attempts), (2, 1))
        self.assertFalse(self.finish(dataclasses.replace(fresh, run=1), Kind.SUCCEEDED))

    def test_a_refused_finish_still_claims_the_next(self) -> None:
        self.add()
        stale = self.claim()
        self.finish(stale, Kind.SUCCEEDED)
        following = self.add()
        outcome = Outcome(Kind.FAILED)
        verdict = decide(stale, outcome, NOW)
        happened, _, job = self.store.finish(stale, outcome, verdict, NOW, self.worker)
        self.assertFalse(happened)
        assert job is not None
        self.assertEqual(job.id, following)


class DeleteTest(StoreTest):
    def test_only_what_has_ended_in_a_state_that_was_named(self) -> None:
        for state in State:
            for named in State:
                with self.subTest(state=state, named=named):
                    job = self.bring(state, f"{state}-{named}")
                    if state is named and state in ENDED:
                        self.store.delete(job.id, (named,))
                        with self.assertRaises(NotFound):
                            self.store.job(job.id)
                        self.assertEqual(self.store.runs(job), [])
                    else:
                        with self.assertRaises(Conflict):
                            self.store.delete(job.id, (named,))
                        self.assertEqual(self.store.job(job.id), job)

    def test_in_bulk_only_what_ended_before(self) -> None:
        old = self.bring(State.DEAD, "a")
        kept = [self.bring(state, f"b-{state}") for state in State if state is not State.DEAD]
        self.assertEqual(self.store.delete_ended(("dead",), NOW, 100), [])
        self.assertEqual(self.store.count_ended(("dead",), NOW + 1), 1)
        self.assertEqual(self.store.delete_ended(("dead",), NOW + 1, 100), [old])
        self.assertEqual([self.store.job(job.id) for job in kept], kept)


class RecordTest(StoreTest):
    """What a verb leaves in the row, beside the state."""

    def test_a_claim_counts_before_the_job_runs(self) -> None:
        self.add()
        job = self.claim(now=NOW + 7)
        self.assertEqual((job.run, job.attempts, job.started_at), (1, 1, NOW + 7))
        self.assertEqual(job.worker, self.worker.id)
        (run,) = self.store.runs(job)
        self.assertEqual((run.run, run.attempt, run.outcome), (1, 1, None))

    def test_a_run_has_one_record(self) -> None:
        self.add()
        job = self.claim()
        self.assertTrue(self.finish(job, Kind.FAILED, NOW + 9, exit_code=3, error="why"))
        self.assertFalse(self.finish(job, Kind.SUCCEEDED, NOW + 10, exit_code=0))
        (run,) = self.store.runs(job)
        self.assertEqual((run.outcome, run.exit_code, run.error), ("failed", 3, "why"))
        self.assertEqual(run.finished_at, NOW + 9)

    def test_a_retry_begins_again_and_keeps_the_history(self) -> None:
        dead = self.bring(State.DEAD)
        (back,) = self.store.retry([dead.id], None, NOW + 5)
        self.assertEqual(back.id, dead.id)
        job = self.store.job(dead.id)
        self.assertEqual((job.attempts, job.run, job.finished_at), (0, 1, None))
        self.assertEqual((job.run_at, job.ready), (NOW + 5, 1))
        self.assertEqual(len(self.store.runs(job)), 1)

    def test_a_cancelled_wait_ends_and_leaves_the_line(self) -> None:
        for state in (State.PENDING, State.FAILED):
            job = self.bring(state, f"q-{state}")
            gone = self.store.cancel(job.id, NOW + 3)
            self.assertEqual((gone.state, gone.ready, gone.finished_at), ("cancelled", 0, NOW + 3))

    def test_asking_twice_for_an_end_keeps_the_first_instant(self) -> None:
        job = self.bring(State.PROCESSING)
        self.store.cancel(job.id, NOW + 1)
        self.assertEqual(self.store.cancel(job.id, NOW + 2).cancel_asked_at, NOW + 1)

    def test_retrying_a_queue_leaves_the_others(self) -> None:
        a, b = self.bring(State.DEAD, "a"), self.bring(State.DEAD, "b")
        self.assertEqual([job.id for job in self.store.retry((), "a", NOW)], [a.id])
        self.assertEqual(self.store.job(b.id).state, "dead")
        self.assertEqual([job.id for job in self.store.retry((), None, NOW)], [b.id])


class ReasonTest(StoreTest):
    """hold, release and edit change no state; they are for jobs that wait."""

    def test_every_verb_from_every_state(self) -> None:
        verbs = {
            "hold": lambda job: self.store.hold(job.id, NOW),
            "release": lambda job: self.store.release(job.id, NOW, at_once=True),
            "edit": lambda job: self.store.edit(job.id, {"priority": 9}, NOW),
        }
        for state in State:
            for name, verb in verbs.items():
                with self.subTest(verb=name, state=state):
                    job = self.bring(state, queue=f"{name}-{state}")
                    if state in WAITING:
                        verb(job)
                    else:
                        self.assertRaises(Conflict, verb, job)
                        self.assertEqual(self.store.job(job.id), job)
                    self.assertEqual(self.store.job(job.id).state, state)


if __name__ == "__main__":
    unittest.main()
