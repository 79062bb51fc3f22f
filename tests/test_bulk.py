"""enqueue --file: a job a line, all or none."""

from __future__ import annotations

import os
import threading
import unittest

from tests.support import QueueTest


class BulkTest(QueueTest):
    def count(self) -> int:
        return sum(self.box.ok("status", "--json").json["jobs"].values())  # type: ignore[call-overload, index]

    def test_shell_and_json_lines_blank_ones_and_comments(self) -> None:
        line = b'{"command":"echo two","id":"two","priority":9}'
        text = b"# a comment\n\necho one\n" + line + b"\n  { true; }\n"
        (self.box.dir / "jobs").write_bytes(text)
        ids = self.box.ok("enqueue", "--file", "jobs", "--label", "all", "--priority", "1").lines
        self.assertEqual(ids[1], "two")
        jobs = [self.box.job(job_id) for job_id in ids]
        self.assertEqual([job["command"] for job in jobs], ["echo one", "echo two", "{ true; }"])
        self.assertEqual([job["priority"] for job in jobs], [1, 9, 1])
        self.assertEqual({job["label"] for job in jobs}, {"all"})

    def test_a_byte_order_mark_is_no_part_of_the_first_line(self) -> None:
        for line in (b"echo one\n", b'{"command":"echo one"}\n'):
            text = b"\xef\xbb\xbf" + line + b"\xef\xbb\xbftwo\n"
            ids = self.box.ok("enqueue", "-q", "--file", "-", stdin=text).lines
            commands = [self.box.job(job_id)["command"] for job_id in ids]
            self.assertEqual(commands, ["echo one", "\ufefftwo"])

    def test_a_wrong_line_stores_nothing_and_is_named(self) -> None:
        self.box.enqueue("true", "--id", "taken")
        good = [b"echo %d" % number for number in range(3000)]
        for bad, code, word in (
            (b'{"command":"x","bogus":1}', 2, "bogus"),
            (b'{"command":', 2, "JSON"),
            (b"caf\xe9", 2, "UTF-8"),
            (b"nul \0 byte", 2, "NUL"),
            (b"x" * 140_000, 2, "long"),
            (b'{"command":"x","id":"taken"}', 5, "taken"),
            (b'{"command":"x","id":"a"}\n{"command":"x","id":"a"}', 2, "twice"),
            (b'{"command":"x","after":"later"}', 3, "later"),
            (b'{"command":"x","id":"me","after":"me"}', 2, "itself"),
        ):
            result = self.box.run("enqueue", "--file", "-", stdin=b"\n".join([*good, bad, b"true"]))
            self.assertEqual((result.code, result.err.count("\n"), result.out), (code, 1, ""), bad)
            self.assertRegex(result.err, r"-:300[12]: ")
            self.assertIn(word, result.err)
            self.assertEqual(self.count(), 1)

    def test_a_dependency_on_an_earlier_line(self) -> None:
        text = b'{"command":"true","id":"a"}\n{"command":"true","id":"b","after":"a"}\n'
        self.box.ok("enqueue", "--file", "-", stdin=text)
        self.assertEqual(self.box.job("b")["waiting_for"], "blocked")

    def test_a_slow_producer_blocks_nobody(self) -> None:
        fifo = self.box.dir / "slow"
        os.mkfifo(fifo)
        answers = []
        reader = threading.Thread(
            target=lambda: answers.append(self.box.run("enqueue", "--file", str(fifo)))
        )
        reader.start()
        with open(fifo, "wb") as producer:
            producer.write(b"echo one\n")
            producer.flush()
            self.box.enqueue("true")  # it waits for nobody
            self.assertEqual(self.count(), 1)
            producer.write(b"echo two\n")
        reader.join()
        self.assertEqual(len(answers[0].lines), 2)
        self.assertEqual(self.count(), 3)

    def test_what_excludes_file(self) -> None:
        for words in (("--id", "x"), ("--wait",), ("true",), ("--", "true")):
            result = self.box.run("enqueue", "--file", "-", *words)
            self.assertEqual((result.code, result.err.count("\n")), (2, 1), words)
        missing = self.box.run("enqueue", "--file", "nosuch")
        self.assertEqual((missing.code, missing.err.count("\n")), (1, 1))


if __name__ == "__main__":
    unittest.main()
