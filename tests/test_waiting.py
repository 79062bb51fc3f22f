"""wait, enqueue --wait, worker run --burst/--for/--max-jobs, worker scale."""

from __future__ import annotations

import subprocess
import threading
import unittest

from tests.support import QueueTest, wait_for


class WaitTest(QueueTest):
    def test_enqueue_wait_exits_as_the_job_did(self) -> None:
        self.box.ok("worker", "start")
        for words, code in (
            (("--", "sh", "-c", "exit 7"), 7),
            (("true",), 0),
            (("kill -9 $$",), 137),
            (("sleep 60", "--timeout", "100ms"), 124),
            (("nosuchcommand",), 127),
            (("true", "--cwd", "/nosuch"), 125),
        ):
            flags = ("enqueue", "--wait", "--max-retries", "0", *words)
            self.assertEqual(self.box.run(*flags).code, code, words)

    def test_follow_prints_what_the_job_writes(self) -> None:
        self.box.ok("worker", "start")
        words = ("enqueue", "-q", "--wait", "--follow", "--max-retries", "0", "echo out; exit 3")
        followed = self.box.run(*words)
        self.assertEqual((followed.code, followed.lines[1:]), (3, ["out"]))
        self.assertEqual(self.box.run("enqueue", "--follow", "true").code, 2)

    def test_exit_codes_and_lines(self) -> None:
        good = self.box.enqueue("true")
        bad = self.box.enqueue("exit 3", "--max-retries", "0")
        held = self.box.enqueue("true", "--hold")
        self.box.ok("worker", "start")
        waited = self.box.run("wait", good, bad)
        self.assertEqual(waited.code, 4)
        self.assertEqual(sorted(line.split(":")[0] for line in waited.lines), [good, bad])
        self.assertEqual(self.box.run("wait", good).code, 0)
        self.assertEqual(self.box.run("wait", good, bad, "nobody").code, 3)
        late = self.box.run("wait", held, "--timeout", "50ms")
        self.assertEqual(late.code, 124)
        self.assertIn("held", late.err)
        self.assertEqual(self.box.run("wait", bad, held, "--timeout", "50ms").code, 4)
        self.assertEqual(self.box.run("wait", "--any", good, held).code, 0)

    def test_it_says_at_once_what_nobody_runs(self) -> None:
        job = self.box.enqueue("true", "--queue", "lonely")
        waited = self.box.run("wait", job, "--timeout", "10ms")
        self.assertIn("lonely", waited.err)

    def test_waiting_sleeps_until_the_job_ends(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(f"cat {gate}")
        self.box.ok("worker", "start")
        results = []
        thread = threading.Thread(target=lambda: results.append(self.box.run("wait", job)))
        thread.start()
        shelf = self.box.state / "run" / "waiting"
        wait_for(lambda: shelf.exists() and list(shelf.iterdir()), "a waiting bell")
        self.assertEqual(results, [])
        gate.open()
        thread.join(30)
        self.assertEqual(results[0].code, 0)
        self.assertEqual(list(shelf.iterdir()), [])

    def test_a_job_that_waits_for_all_leaves_itself_out(self) -> None:
        words = self.box.command("wait")
        job = self.box.enqueue("--", *words, "--timeout", "20s")
        self.box.ok("worker", "start")
        self.assertEqual(self.box.wait_state(job, "completed", "failed", "dead")["exit_code"], 0)


class ShiftTest(QueueTest):
    def test_burst_drains_retries_too_and_leaves(self) -> None:
        for number in range(5):
            self.box.enqueue(f"echo {number} >> ledger")
        self.box.enqueue(
            "echo again >> ledger; test $(grep -c again ledger) = 2", "--backoff-base", "0"
        )
        self.box.enqueue("echo later >> ledger", "--delay", "1h")
        result = self.box.run("worker", "run", "--burst", "--count", "2")
        self.assertEqual(result.code, 0, result)
        self.assertEqual(sorted(self.box.ledger()), [*"01234", "again", "again"])
        self.box.enqueue("exit 1", "--max-retries", "0")
        self.assertEqual(self.box.run("worker", "run", "--burst").code, 4)

    def test_max_jobs_holds_over_the_whole_pool(self) -> None:
        for number in range(9):
            self.box.enqueue(f"echo {number} >> ledger")
        self.box.ok("worker", "run", "--count", "3", "--max-jobs", "4")
        self.assertEqual(len(self.box.ledger()), 4)

    def test_for_ends_a_pool_that_finds_nothing(self) -> None:
        self.assertEqual(self.box.run("worker", "run", "--for", "200ms").code, 0)

    def test_two_overlapping_bursts_run_each_job_once(self) -> None:
        text = "\n".join(f"echo {number} >> ledger" for number in range(200)).encode()
        self.box.ok("enqueue", "--file", "-", stdin=text)
        words = self.box.command("worker", "run", "--burst", "--for", "55s")
        both = [subprocess.Popen(words, env=self.box.env, cwd=self.box.dir) for _ in range(2)]
        self.assertEqual([process.wait(60) for process in both], [0, 0])
        self.assertEqual(sorted(map(int, self.box.ledger())), list(range(200)))

    def test_scale_is_exact_and_idempotent(self) -> None:
        self.box.ok("worker", "scale", "3")
        self.assertEqual(len(self.box.workers()), 3)
        self.box.ok("worker", "scale", "3")
        self.assertEqual(len(self.box.workers()), 3)
        self.box.ok("worker", "scale", "1", "--queue", "other")
        self.box.ok("worker", "scale", "1")
        wait_for(lambda: len(self.box.workers()) == 2, "one of all, one of other")
        self.box.ok("worker", "scale", "0")
        self.box.ok("worker", "scale", "0", "--queue", "other")
        wait_for(lambda: not self.box.workers(), "nobody")

    def test_ten_crons_that_scale_at_once(self) -> None:
        words = self.box.command("worker", "scale", "2")
        crons = [
            subprocess.Popen(words, env=self.box.env, cwd=self.box.dir, stdout=subprocess.DEVNULL)
            for _ in range(10)
        ]
        self.assertEqual({process.wait(60) for process in crons}, {0})
        self.assertEqual(len(self.box.workers()), 2)


if __name__ == "__main__":
    unittest.main()
