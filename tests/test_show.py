"""`queuectl show`: everything about one job on one screen, every run, the end of its output."""

from __future__ import annotations

import re
import unittest

from queuectl import render
from tests.support import LINUX, QueueTest
from tests.test_list import on_terminal


class ShowTest(QueueTest):
    def runs_of(self, job: str) -> list[list[str]]:
        """Give the table of runs, split at its columns."""
        lines = self.box.ok("show", job).lines
        start = next(n for n, line in enumerate(lines) if line.startswith("RUN "))
        rows = []
        for line in lines[start + 1 :]:
            if not re.match(r"\d+ ", line):
                break
            rows.append(re.split(r"  +", line))
        return rows

    def test_what_a_waiting_job_is(self) -> None:
        parent = self.box.enqueue("true", "--hold")
        job = self.box.enqueue(
            "make test", "--id", "mine", "--queue", "q", "--priority", "4", "--label", "nightly",
            "--after", parent, "--timeout", "90", "--max-retries", "1", "--unique", "key",
        )  # fmt: skip
        told = self.box.ok("show", job).out
        for words in (
            "id           mine", "command      make test", "state        pending",
            f"job {parent} (pending)", "q, priority 4", "nightly", "1m30s", "0 of 2", "key",
            f"directory    {self.box.dir}", "mine.log",
        ):  # fmt: skip
            self.assertIn(words, told)
        self.assertNotIn("RUN", told)
        self.assertEqual(self.box.run("show", "nobody").code, 3)

    def test_each_run_with_length_end_cpu_and_memory(self) -> None:
        job = self.box.enqueue(
            "case $QUEUECTL_JOB_RUN in 1) exit 7;; 2) kill -9 $$;; 3) sleep 60;; esac; "
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done",
            "--max-retries", "3", "--backoff-base", "0", "--timeout", "3",
        )  # fmt: skip
        self.box.ok("worker", "start")
        self.box.wait_state(job, "completed")
        rows = self.runs_of(job)
        self.assertEqual([row[0] for row in rows], ["1", "2", "3", "4"])
        outcomes = [row[2] for row in rows]
        self.assertEqual(outcomes, ["failed", "failed", "timed_out", "succeeded"])
        ends = [row[-1] for row in rows]
        self.assertEqual((ends[0], ends[1], ends[3]), ("exit 7", "signal 9 (SIGKILL)", "exit 0"))
        self.assertIn("timed out after 3 s", ends[2])
        self.assertIn("(SIGTERM)", ends[2])
        history = self.box.job(job)["history"]
        assert isinstance(history, list)
        for row, run in zip(rows, history, strict=True):
            self.assertEqual(row[3], render.length(run["duration_s"]))
            self.assertEqual(row[4], f"{run['cpu_s']:.2f}s")
            self.assertEqual(row[5], f"{run['max_rss_bytes'] / 1048576:.1f} MiB")
            self.assertGreater(run["max_rss_bytes"], 100_000)
        self.assertGreaterEqual(history[2]["duration_s"], 3)
        self.assertGreater(history[3]["cpu_s"], 0)
        self.assertIn("  | done", self.box.ok("show", job).lines)

    @unittest.skipUnless(LINUX, "who is left behind is told by /proc")
    def test_what_was_left_behind(self) -> None:
        job = self.box.enqueue("sleep 600 & sleep 600 & exit 0")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "completed")
        ((*_, left, _),) = self.runs_of(job)
        self.assertEqual(left, "2 processes")

    def test_the_last_lines_of_output_made_harmless(self) -> None:
        job = self.box.enqueue(r"seq 100; printf 'a\033[31m\r\tb\342\200\256\377\nlast'")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "completed")
        output = [line for line in self.box.ok("show", job).lines if line.startswith("  | ")]
        self.assertEqual(len(output), 10)
        self.assertEqual(output[0], "  | 93")
        self.assertEqual(output[-2:], ["  | a\\x1b[31m\\r\\tb\\u202e\\xff", "  | last"])

    def test_one_screen(self) -> None:
        self.box.ok("config", "set", "kill-grace", "1s")
        job = self.box.enqueue(
            "seq 1000000000000000000000000000000 1000000000000000000000000000050; exit 1 # "
            + "x" * 5000,
            "--max-retries", "11", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        self.box.wait_state(job, "dead")
        for columns in (80, 132):
            told = on_terminal(self.box, columns, "show", job, "--color", "never")
            lines = told.splitlines()
            (command,) = (line for line in lines if line.startswith("command"))
            wide = [line for line in lines if line != command]
            self.assertLessEqual(max(map(render.cell_width, wide)), columns)
            self.assertLessEqual(len(command), 3 * columns)
            self.assertRegex(command, r"x… \(\d,\d\d\d bytes more\)$")
            self.assertIn("and 4 earlier runs", told)
            self.assertGreaterEqual(sum(line.startswith("  | ") for line in lines), 3)
        self.assertTrue(on_terminal(self.box, 20, "show", job))
        self.assertIn("x" * 5000, self.box.ok("show", job).out)


if __name__ == "__main__":
    unittest.main()
