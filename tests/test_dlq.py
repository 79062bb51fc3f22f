"""The dead letter queue: by cause, and back from it."""

from __future__ import annotations

import unittest

from queuectl.causes import shape
from tests.support import QueueTest
from tests.test_list import on_terminal


class ShapeTest(unittest.TestCase):
    def test_what_is_alike(self) -> None:
        for one, other in (
            ("convert 'a b.jpg' x1.png", "convert 'c.jpg' x22.png"),
            ("fetch 0d5f-11aa  now", "fetch 99ee-0b0b now"),
            ("make -j4", "make -j16"),
        ):
            self.assertEqual(shape(one), shape(other))
        self.assertNotEqual(shape("make test"), shape("make lint"))


class DeadTest(QueueTest):
    def setUp(self) -> None:
        super().setUp()
        self.box.ok("config", "set", "max-retries", "0")
        lines = [f"echo no host {n}; exit 3" for n in range(3)] + ["echo other; exit 4", "nosuch"]
        text = "\n".join(lines).encode()
        self.ids = self.box.ok("enqueue", "-q", "--file", "-", stdin=text).lines
        self.box.run("worker", "run", "--burst")

    def test_eighty_columns_hold_them_all(self) -> None:
        gone = self.box.dir / "a-directory-that-is-gone"
        gone.mkdir()
        self.box.enqueue("-q", "make " + "x" * 200, "--cwd", str(gone))
        gone.rmdir()
        self.box.run("worker", "run", "--burst")
        head, row, *_ = on_terminal(self.box, 80, "dlq", "list").splitlines()
        wanted = ["ID", "QUEUE", "RUNS", "DIED", "EXIT", "COMMAND", "LAST", "LINE"]
        self.assertEqual(head.split(), wanted)
        self.assertRegex(row, r"^6 .* cannot ent…  make x+…  cannot enter t.*…$")
        whole = self.box.ok("dlq", "list").out
        self.assertIn("x" * 200, whole)
        self.assertEqual(whole.count(f"cannot enter the directory {gone}"), 2)

    def test_groups_by_cause(self) -> None:
        groups = self.box.ok("dlq", "list", "--group", "--json").json
        found = [(group["count"], group["exit_code"]) for group in groups]  # type: ignore[attr-defined]
        self.assertEqual(sorted(found), [(1, 4), (1, 127), (3, 3)])
        first = groups[0]  # type: ignore[index]
        self.assertEqual(sorted(first["ids"]), self.ids[:3])
        self.assertTrue(first["last_line"].startswith("no host "))
        self.assertIn(first["group"], self.box.ok("dlq", "list", "--group").out)

    def test_a_group_is_retried_alone(self) -> None:
        groups = self.box.ok("dlq", "list", "--group", "--json").json
        name = groups[0]["group"]  # type: ignore[index]
        back = self.box.ok("dlq", "retry", "--group", name).lines
        self.assertEqual(sorted(back), self.ids[:3])
        self.assertEqual(self.box.state_of(self.ids[3]), "dead")
        self.assertEqual(self.box.run("dlq", "retry", "--group", "00000000").code, 3)
        self.assertEqual(self.box.run("dlq", "retry", "--group", name, self.ids[3]).code, 2)

    def test_list_retry_and_purge(self) -> None:
        self.assertEqual(sorted(self.box.ok("dlq", "list", "-q").lines), self.ids)
        self.assertEqual(self.box.ok("dlq", "retry", self.ids[0]).lines, [self.ids[0]])
        self.assertEqual(self.box.run("dlq", "retry", self.ids[0]).code, 5)
        self.assertEqual(self.box.run("dlq", "retry", "99", self.ids[0]).code, 3)
        self.assertEqual(self.box.job(self.ids[0])["attempts"], 0)
        self.assertEqual(self.box.ok("dlq", "purge", self.ids[1]).out, "1 job removed.\n")
        self.assertFalse((self.box.state / "logs" / f"{self.ids[1]}.log").exists())
        self.assertEqual(self.box.run("dlq", "purge", "--all").code, 2)
        self.assertEqual(
            self.box.ok("dlq", "purge", "--all", "-n").out, "3 jobs would be removed.\n"
        )
        self.assertEqual(self.box.ok("dlq", "purge", "--all", "--yes").out, "3 jobs removed.\n")
        self.assertEqual(self.box.ok("dlq", "list", "-q").lines, [])


if __name__ == "__main__":
    unittest.main()
