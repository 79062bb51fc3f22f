"""hold, release, edit, rerun, --unique, --expires, --hold: what a person does to waiting jobs."""

from __future__ import annotations

import unittest

from queuectl.errors import Conflict
from queuectl.lifecycle import Kind
from tests.store import ClockTest
from tests.support import QueueTest


class UniqueTest(ClockTest):
    def test_an_unfinished_job_holds_its_key(self) -> None:
        ((first, new),) = self.queue.insert([{"command": "one", "unique": "k"}])
        self.assertTrue(new)
        self.assertEqual(self.queue.insert([{"command": "two", "unique": "k"}]), [(first, False)])
        job = self.claim()
        self.assertEqual(self.queue.enqueue("three", unique="k"), first)
        self.finish(job, Kind.SUCCEEDED)
        self.assertNotEqual(self.queue.enqueue("four", unique="k"), first)

    def test_a_dead_job_cannot_come_back_beside_another_of_its_key(self) -> None:
        dead = self.queue.enqueue("one", unique="k", max_retries=0)
        job = self.claim()
        self.finish(job, Kind.FAILED, exit_code=1)
        self.queue.enqueue("two", unique="k")
        with self.assertRaises(Conflict):
            self.queue.retry(dead)
        with self.assertRaises(Conflict):
            self.queue.rerun(dead)


class HoldTest(ClockTest):
    def test_a_held_job_is_not_claimed_until_it_is_released(self) -> None:
        job = self.queue.enqueue("true", hold=True)
        self.assertIsNone(self.claim())
        self.assertFalse(self.queue.hold(job))
        self.assertTrue(self.queue.release(job))
        self.assertFalse(self.queue.release(job))
        self.assertEqual(self.claim().id, job)

    def test_release_now_drops_a_delay_and_a_backoff(self) -> None:
        delayed = self.queue.enqueue("true", delay=3600)
        self.assertIsNone(self.claim())
        self.assertFalse(self.queue.release(delayed))
        self.assertTrue(self.queue.release(delayed, at_once=True))
        job = self.claim()
        self.assertEqual(job.id, delayed)
        self.finish(job, Kind.FAILED, exit_code=1)
        self.assertIsNone(self.claim())
        self.queue.release(delayed, at_once=True)
        self.assertEqual(self.claim().run, 2)

    def test_only_waiting_jobs_can_be_held_released_or_edited(self) -> None:
        job = self.queue.enqueue("true")
        self.claim()
        for verb in (self.queue.hold, self.queue.release, lambda i: self.queue.edit(i, priority=1)):
            with self.assertRaises(Conflict):
                verb(job)

    def test_a_hold_while_it_waits_for_its_backoff_keeps_it(self) -> None:
        job_id = self.queue.enqueue("true", backoff_base=0)
        job = self.claim()
        self.finish(job, Kind.FAILED, exit_code=1)
        self.queue.hold(job_id)
        self.now += 10_000
        self.assertIsNone(self.claim())


class EditTest(ClockTest):
    def test_priority_queue_and_label(self) -> None:
        first, second = self.queue.enqueue("a"), self.queue.enqueue("b")
        job = self.queue.edit(second, priority=5, label="new", queue="other")
        self.assertEqual((job.priority, job.label, job.queue), (5, "new", "other"))
        self.assertEqual([self.claim().id, self.claim().id], [second, first])


class ExpiryTest(ClockTest):
    def test_a_job_that_was_not_started_in_time_is_cancelled_with_its_children(self) -> None:
        late = self.queue.enqueue("true", expires=5)
        child = self.queue.enqueue("true", after=late)
        self.now = self.queue.job(late).created_at + 5001
        self.assertIsNone(self.claim())
        self.assertEqual(self.queue.job(late).state, "cancelled")
        self.assertIn("expired", self.queue.job(late).error or "")
        self.assertEqual(self.queue.job(child).state, "cancelled")

    def test_one_that_was_started_does_not_expire(self) -> None:
        job_id = self.queue.enqueue("true", expires=5, backoff_base=10)
        job = self.claim()
        self.finish(job, Kind.FAILED, exit_code=1)
        self.now += 60_000
        self.assertEqual(self.claim().id, job_id)

    def test_a_pool_cancels_it_without_a_claim(self) -> None:
        job_id = self.queue.enqueue("true", expires=1, hold=True)
        self.assertTrue(self.storage.expire(self.queue.job(job_id).created_at + 1001))
        self.assertEqual(self.queue.job(job_id).state, "cancelled")


class RerunTest(QueueTest):
    def test_a_rerun_has_the_same_command_directory_environment_and_options(self) -> None:
        work = self.box.dir / "work"
        work.mkdir()
        first = self.box.enqueue(
            'echo "$WORD $PWD" >> "$LEDGER"', "--cwd", str(work), "--env", "WORD=hello",
            "--env", f"LEDGER={self.box.dir}/ledger", "--label", "x", "--priority", "3",
        )  # fmt: skip
        again = self.box.ok("rerun", first).out.strip()
        self.box.ok("worker", "start")
        self.box.ok("wait", first, again)
        self.assertEqual(self.box.ledger(), [f"hello {work}"] * 2)
        one, two = self.box.job(first), self.box.job(again)
        for key in ("command", "cwd", "label", "priority", "max_retries", "timeout_s", "queue"):
            self.assertEqual(one[key], two[key])

    def test_exit_codes_of_the_verbs(self) -> None:
        waiting = self.box.enqueue("true", "--hold")
        for verb in ("hold", "release", "edit", "rerun", "cancel"):
            more = ("--priority", "1") if verb == "edit" else ()
            self.assertEqual(self.box.run(verb, "nobody", *more).code, 3, verb)
        self.assertEqual(self.box.run("hold", waiting).code, 0)
        self.assertEqual(self.box.run("cancel", waiting).code, 0)
        self.assertEqual(self.box.run("cancel", waiting).code, 0)
        self.assertEqual(self.box.run("hold", waiting).code, 5)
        both = self.box.run("hold", waiting, "nobody")
        self.assertEqual((both.code, both.err.count("\n")), (3, 2))
        self.assertEqual(self.box.run("edit", waiting).code, 2)

    def test_what_has_its_effect_already_is_a_note_and_nothing_else(self) -> None:
        job = self.box.enqueue("-q", "true", "--hold")
        self.box.ok("release", job)
        for words, note in (
            (("release", job), f"nothing holds job {job}"),
            (("hold", job), ""),
            (("hold", job), f"job {job} is held already"),
            (("cancel", job), ""),
            (("cancel", job), f"job {job} is cancelled already"),
        ):
            said = self.box.ok(*words)
            if note:
                self.assertEqual((said.out, said.err), ("", f"queuectl: {note}\n"))
            else:
                self.assertEqual((len(said.lines), said.err), (1, ""))
        (told,) = self.box.ok("cancel", job, "--json").json  # type: ignore[misc]
        self.assertEqual(told["id"], job)
        self.assertEqual(self.box.ok("cancel", job, "-q").out, f"{job}\n")

    def test_a_directory_that_is_not_there_is_a_warning(self) -> None:
        nowhere = f"{self.box.dir}/nowhere"
        for words in (("--cwd", nowhere, "true"), (f'{{"command":"true","cwd":"{nowhere}"}}',)):
            said = self.box.ok("enqueue", *words)
            self.assertIn(f"{nowhere} is no directory", said.err)
            self.assertEqual(self.box.job(said.out.strip())["cwd"], nowhere)
        self.assertNotIn("directory", self.box.ok("enqueue", "--cwd", "home", "true").err)


if __name__ == "__main__":
    unittest.main()
