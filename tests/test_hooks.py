"""on-finish and on-dead: told of ended jobs, contained, and never the job's trouble."""

from __future__ import annotations

import json
import unittest

from tests.support import QueueTest, is_alive, wait_for


class HookTest(QueueTest):
    def told(self, name: str = "told") -> list[dict[str, object]]:
        return [json.loads(line) for line in self.box.ledger(name)]

    def test_each_is_told_what_concerns_it(self) -> None:
        self.box.ok("config", "set", "on-finish", f"cat >> {self.box.dir}/told")
        self.box.ok("config", "set", "on-dead", f"cat >> {self.box.dir}/died")
        good = self.box.enqueue("true")
        bad = self.box.enqueue("exit 1", "--max-retries", "1", "--backoff-base", "0")
        self.box.run("worker", "run", "--burst")
        self.assertEqual(sorted(str(job["id"]) for job in self.told()), [good, bad])
        self.assertEqual([job["id"] for job in self.told("died")], [bad])
        self.assertEqual(self.told("died")[0]["state"], "dead")

    def test_jobs_that_no_worker_ended_are_told_too(self) -> None:
        self.box.ok("config", "set", "on-finish", f"cat >> {self.box.dir}/told")
        parent, child = self.box.enqueue("true", "--id", "p"), ""
        child = self.box.enqueue("true", "--after", parent)
        self.box.ok("cancel", parent)
        self.box.ok("worker", "start")
        wait_for(lambda: len(self.told()) == 2, "both")
        other = self.box.enqueue("true", "--hold")
        self.box.ok("cancel", other)
        wait_for(lambda: len(self.told()) == 3, "the one that was cancelled meanwhile")
        self.assertEqual({str(job["id"]) for job in self.told()}, {parent, child, other})

    def test_the_environment_of_the_workers_counts(self) -> None:
        job = self.box.enqueue("true")
        hook = {"QUEUECTL_ON_FINISH": f"cat >> {self.box.dir}/told"}
        self.box.ok("worker", "run", "--burst", env=hook)
        self.assertEqual([each["id"] for each in self.told()], [job])

    def test_a_hook_that_fails_or_hangs_on_harms_nobody(self) -> None:
        hook = f"sleep 60 & echo $! >> {self.box.dir}/pids; exit 9"
        self.box.ok("config", "set", "on-finish", hook)
        jobs = [self.box.enqueue("true") for _ in range(2)]
        self.box.ok("worker", "run", "--burst")
        self.assertEqual([self.box.state_of(job) for job in jobs], ["completed"] * 2)
        pids = self.box.ledger("pids")
        self.assertEqual((len(pids), [pid for pid in pids if is_alive(int(pid))]), (2, []))
        log = (self.box.state / "worker.log").read_text()
        self.assertEqual(log.count("hook failed: on-finish"), 2)
        self.assertIn("hooks", self.box.run("doctor").out)

    def test_without_hooks_nothing_is_owed(self) -> None:
        self.box.enqueue("true")
        self.box.ok("worker", "run", "--burst")
        self.box.ok("config", "set", "on-finish", f"cat >> {self.box.dir}/told")
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(self.told(), [])


if __name__ == "__main__":
    unittest.main()
