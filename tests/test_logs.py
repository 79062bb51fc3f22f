"""Logs: the headline before a re-run, parts, tails and last lines, byte for byte."""

from __future__ import annotations

import os
import random
import unittest
from pathlib import Path

from queuectl import logs
from queuectl.errors import Refused
from queuectl.lifecycle import Kind
from tests.calls import CallTest
from tests.store import DAY, NOW, StoreTest, temporary

HEAD = b"=== queuectl: attempt 2 of 4, 2027-01-16T08:00:00Z ===\n"


class RunsTest(StoreTest):
    def write(self, data: bytes, now: int) -> tuple[int, int]:
        """Claim the job, let it write this, and fail it; give where its output lies."""
        job = self.claim(now=now)
        fd, start = logs.open_for_run(self.place, job)
        os.write(fd, data)
        end = os.fstat(fd).st_size
        os.close(fd)
        self.finish(job, Kind.FAILED, now, log_start=start, log_end=end)
        return start, end

    def test_a_rerun_is_appended_after_one_line(self) -> None:
        for first, between in ((b"one\n", b""), (b"one", b"\n"), (b"\xff\0\n\n", b""), (b"", None)):
            with self.subTest(first):
                job_id = self.add(now=1, max_retries=3)
                path = Path(self.place.log(job_id))
                self.assertEqual(self.write(first, NOW), (0, len(first)))
                start, end = self.write(b"two\n", NOW + DAY)
                head = b"" if between is None else between + HEAD
                self.assertEqual(path.read_bytes(), first + head + b"two\n")
                self.assertEqual((start, end), (len(first + head), len(first + head) + 4))
                self.store.cancel(job_id, NOW)

    def test_the_log_of_a_deleted_job_goes(self) -> None:
        self.add(now=1)
        self.write(b"x", NOW)
        job = self.store.job("1")
        logs.remove(self.place, job)
        logs.remove(self.place, job)
        self.assertEqual(os.listdir(self.place.logs), [])


class ReadTest(unittest.TestCase):
    def setUp(self) -> None:
        self.path = str(temporary(self) / "1.log")

    def write(self, data: bytes) -> None:
        Path(self.path).write_bytes(data)

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(logs.read(self.path, start, end))

    def test_a_part(self) -> None:
        data = random.Random(1).randbytes(2_500_000)  # several pieces
        self.write(data)
        for start, end in ((0, None), (5, None), (7, 9), (0, 0), (10, 2_400_000), (0, 9_999_999)):
            with self.subTest(start=start, end=end):
                self.assertEqual(self.read(start, end), data[start:end])

    def test_a_tail(self) -> None:
        for data in (
            b"", b"\n", b"a", b"a\n", b"a\nb", b"a\nb\n", b"\n\n\n", b"a\n\nb\n\n",
            b"x" * 70_000, b"x" * 65_536 + b"\n", b"a\n" + b"x" * 65_535 + b"\n",
            b"".join(b"%d\n" % n for n in range(40_000)),
        ):  # fmt: skip
            self.write(data)
            lines = data.splitlines(keepends=True)
            for wanted in (0, 1, 2, 3, 1_000, 39_999, 10**6):
                with self.subTest(data=data[:12], size=len(data), wanted=wanted):
                    tail = b"".join(lines[-wanted:]) if wanted else b""
                    self.assertEqual(self.read(logs.tail_start(self.path, wanted)), tail)

    def test_a_tail_of_a_part(self) -> None:
        self.write(b"a\nb\nc\nd\ne\n")
        self.assertEqual(self.read(logs.tail_start(self.path, 2, 2, 8), 8), b"c\nd\n")
        self.assertEqual(self.read(logs.tail_start(self.path, 9, 2, 8), 8), b"b\nc\nd\n")

    def test_the_last_line(self) -> None:
        for data, wanted in (
            (b"", ""), (b"\n \n", ""), (b"a\nb\n", "b"), (b"a\n\n  \n", "a"), (b"a\nb", "b"),
            (b"a\n\xff\n", "\\xff"), (b"x" * 9_000, "x" * 4_096), (b"a\rb\n", "a\rb"),
        ):  # fmt: skip
            with self.subTest(data[:10]):
                self.write(data)
                self.assertEqual(logs.last_line(self.path), wanted)
        os.unlink(self.path)
        self.assertEqual(logs.last_line(self.path), "")

    def test_what_is_no_log_is_not_read(self) -> None:
        secret = Path(self.path).parent / "secret"
        secret.write_text("secret")
        for name, plant in (
            ("a FIFO", lambda: os.mkfifo(self.path)),
            ("a symlink", lambda: os.symlink(secret, self.path)),
            ("a device", lambda: os.symlink("/dev/zero", self.path)),
        ):
            with self.subTest(name):
                plant()
                with self.assertRaises((Refused, OSError)):
                    self.read()
                with self.assertRaises((Refused, OSError)):
                    logs.tail_start(self.path, 3)
                self.assertEqual(logs.last_line(self.path), "")
                os.unlink(self.path)


class CommandTest(CallTest):
    def test_a_fifo_as_a_log_hangs_no_view(self) -> None:
        job_id = self.enqueue("true")
        os.mkdir(self.place.logs, 0o700)
        os.mkfifo(self.place.log(job_id))
        self.ok("show", job_id)
        for words in (("logs", job_id), ("logs", job_id, "-n", "3")):
            said = self.call(*words)
            self.assertEqual((said.code, said.err.count("\n")), (1, 1), said)

    def test_path_and_a_job_that_has_not_run(self) -> None:
        job_id = self.enqueue("true")
        self.assertEqual(self.ok("logs", job_id, "--path").out, self.place.log(job_id) + "\n")
        said = self.ok("logs", job_id, "-v")
        self.assertEqual((said.out, said.err), ("", f"Job {job_id} has not run yet.\n"))


if __name__ == "__main__":
    unittest.main()
