"""A path with no queue: what only looks leaves it as it is, what stores makes one."""

from __future__ import annotations

import json
import unittest

from queuectl.errors import QueueError
from queuectl.place import Place
from queuectl.storage.absent import Absent
from tests.store import row
from tests.support import QueueTest

NOW = 1_800_000_000_000
# What is an empty answer, and what names something that is not there.
LOOKS = (
    "list", "status", "stats", "wait", "dlq list", "dlq retry --all", "queue list", "queue resume",
    "metrics", "doctor", "config list", "config get timeout", "config unset timeout", "worker list",
    "worker stop", "schedule list", "prune --older-than 1d --yes", "dlq purge --all --yes",
)  # fmt: skip
NAMES = (
    "show 5", "why 5", "logs 5", "logs", "wait 5", "cancel 5", "hold 5", "release 5", "rerun 5",
    "edit 5 --priority 3", "dlq retry 5", "schedule show nightly", "schedule remove nightly"
)  # fmt: skip
MAKES = (
    "enqueue true", "queue set build --concurrency 2", "queue pause build", "worker run --burst",
    "config set max-retries 1", "schedule add nightly --every 1d true", "worker scale 0",
)  # fmt: skip


class AbsentTest(QueueTest):
    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.box.dir.iterdir() if entry.name != "home")

    def test_looking_finds_nothing_and_leaves_nothing(self) -> None:
        for line in LOOKS:
            with self.subTest(line):
                result = self.box.run(*line.split())
                self.assertEqual(result.code, 0, result)
                self.assertIn(f"there is no queue at {self.box.db} yet", result.err)
                self.assertEqual(self.left(), [])

    def test_what_is_named_is_not_there(self) -> None:
        for line in NAMES:
            with self.subTest(line):
                result = self.box.run(*line.split())
                self.assertEqual((result.code, result.out), (3, ""), result)
                self.assertEqual(len(result.err.splitlines()), 1, result)
                self.assertEqual(self.left(), [])

    def test_the_error_names_the_path_as_json_too(self) -> None:
        told = json.loads(self.box.run("show", "5", "--json").err)["error"]
        self.assertEqual(told["hint"], f"There is no queue at {self.box.db} yet")

    def test_quiet_is_quiet(self) -> None:
        result = self.box.run("list", "-q")
        self.assertEqual((result.code, result.out, result.err), (0, "", ""))

    def test_a_check_and_a_backup_fail(self) -> None:
        for words in (("status", "--check"), ("backup", str(self.box.dir / "copy"))):
            with self.subTest(words):
                result = self.box.run(*words)
                self.assertEqual(result.code, 1, result)
                self.assertIn("there is no queue at", result.out + result.err)
                self.assertEqual(self.left(), [])

    def test_what_stores_makes_one(self) -> None:
        for number, line in enumerate(MAKES):
            with self.subTest(line):
                path = self.box.dir / f"{number}.db"
                self.box.ok("--db", str(path), *line.split())
                self.assertTrue(path.exists())

    def test_what_would_be_lost_is_refused(self) -> None:
        store = Absent(Place(str(self.box.db)))
        self.addCleanup(store.close)
        with self.assertRaisesRegex(QueueError, "there is no queue"):
            store.insert([row()], NOW)

    def test_it_is_seen_once_somebody_has_made_it(self) -> None:
        from queuectl.api import Queue

        queue = Queue(str(self.box.db), create=False)
        self.addCleanup(queue.close)
        self.assertEqual(queue.jobs(), [])
        job = self.box.enqueue("true")
        self.assertEqual([found.id for found in queue.jobs()], [job])


if __name__ == "__main__":
    unittest.main()
