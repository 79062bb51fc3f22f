"""The whole flow through the command line, as a person would type it."""

from __future__ import annotations

import unittest

from tests.support import QueueTest


class FlowTest(QueueTest):
    def test_a_job_runs_and_its_output_is_there(self) -> None:
        job_id = self.box.enqueue("echo hi")
        self.box.ok("worker", "start")
        self.box.wait_state(job_id, "completed")
        self.assertEqual(self.box.ok("logs", job_id).raw, b"hi\n")
        stopped = self.box.ok("worker", "stop")
        self.assertEqual(stopped.out, "Stopped 1 worker.\n")
        self.assertEqual(self.box.pids(), [])


if __name__ == "__main__":
    unittest.main()
