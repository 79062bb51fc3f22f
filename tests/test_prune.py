"""prune, dlq purge, keep-completed: what is removed, and what goes with it."""

from __future__ import annotations

import unittest

from queuectl.lifecycle import Kind
from tests.store import ClockTest
from tests.support import QueueTest, wait_for


class PruneTest(ClockTest):
    def end(self, kind: Kind) -> str:
        self.queue.enqueue("true", max_retries=0)
        job = self.claim()
        self.finish(job, kind, exit_code=int(kind is not Kind.SUCCEEDED))
        return job.id

    def test_only_ended_jobs_in_the_states_asked_for(self) -> None:
        done, dead = self.end(Kind.SUCCEEDED), self.end(Kind.FAILED)
        waiting = self.queue.enqueue("true")
        self.assertEqual(self.queue.prune_ended(("completed", "cancelled")), 1)
        self.assertEqual(self.queue.job(dead).state, "dead")
        self.assertEqual(self.queue.job(waiting).state, "pending")
        self.assertEqual(self.queue.prune_ended(("dead",), self.now - 1), 0)
        self.assertEqual(self.queue.prune_ended(("dead",), self.now + 1), 1)
        self.assertNotEqual(done, self.queue.enqueue("true"))

    def test_runs_and_environments_go_with_their_last_job(self) -> None:
        self.end(Kind.SUCCEEDED)
        self.end(Kind.SUCCEEDED)
        with self.storage._at.read() as db:
            self.assertEqual(db.execute("SELECT uses FROM environment").fetchall(), [(2,)])
        self.queue.prune_ended(("completed",))
        with self.storage._at.read() as db:
            for table in ("job", "run", "environment", "dependency"):
                self.assertEqual(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0], 0)


class PruneCommandTest(QueueTest):
    def test_selection_confirmation_and_logs(self) -> None:
        job = self.box.enqueue("echo hi")
        self.box.ok("worker", "run", "--burst")
        log = self.box.state / "logs" / f"{job}.log"
        self.assertTrue(log.exists())
        self.assertEqual(self.box.run("prune").code, 2)
        self.assertEqual(self.box.run("prune", "--older-than", "0s").code, 2)  # nobody to confirm
        self.assertEqual(
            self.box.ok("prune", "--older-than", "0s", "-n").out, "1 job would be removed.\n"
        )
        self.assertTrue(log.exists())
        self.assertEqual(
            self.box.ok("prune", "--older-than", "0s", "--yes").out, "1 job removed.\n"
        )
        self.assertFalse(log.exists())
        self.assertEqual(self.box.run("prune", job).code, 3)

    def test_named_jobs_must_have_ended(self) -> None:
        job = self.box.enqueue("true")
        for words in ((job,), (job, "-n")):
            self.assertEqual(self.box.run("prune", *words).code, 5, words)
        self.assertEqual(self.box.state_of(job), "pending")

    def test_keep_completed_is_live(self) -> None:
        self.box.ok("worker", "start")
        job = self.box.enqueue("true")
        dead = self.box.enqueue("exit 1", "--max-retries", "0")
        self.box.wait_state(dead, "dead")
        self.box.ok("config", "set", "keep-completed", "0s")
        wait_for(lambda: self.box.run("show", job).code == 3, "the completed job to be pruned")
        self.assertEqual(self.box.state_of(dead), "dead")


if __name__ == "__main__":
    unittest.main()
