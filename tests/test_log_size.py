"""log-max-size: a run's head and tail stay, a line says what is missing, offsets stay right."""

from __future__ import annotations

import os
import random
import re
import unittest
from pathlib import Path

from queuectl import logs
from queuectl.worker import trim
from tests.store import temporary
from tests.support import LINUX, QueueTest, wait_for

MIB = 1 << 20
LINE = rb"(\n?)=== queuectl: ([0-9]+) bytes left out ===\n"


def lines_of(seed: int, size: int) -> bytes:
    """Give so many bytes of text that has no two equal lines."""
    rng = random.Random(seed)
    text = b"".join(b"%d %x\n" % (n, rng.getrandbits(400)) for n in range(size // 100))
    return text.ljust(size, b".")[:size]


class TrimmerTest(unittest.TestCase):
    """The log as a run leaves it, without a worker."""

    def setUp(self) -> None:
        self.path = temporary(self) / "1.log"
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.addCleanup(os.close, self.fd)

    def trimmer(self, limit: int, start: int = 0) -> trim.Trimmer:
        return trim.Trimmer(self.fd, str(self.path), start, limit, running_tail=MIB)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.fd, data) :]

    def shown(self, path: Path | None = None, **part: int) -> bytes:
        """Give what a reader sees of the log."""
        return b"".join(logs.read(str(path or self.path), **part))

    def assert_cut(self, found: bytes, wrote: bytes, limit: int) -> None:
        head, tail = limit // 2, limit - limit // 2
        self.assertEqual(found[:head], wrote[:head])
        match = re.match(LINE, found[head:])
        assert match is not None, found[head : head + 80]
        rest = found[head + match.end() :]
        self.assertEqual(len(rest), tail)
        self.assertEqual(rest, wrote[-tail:])
        self.assertEqual(int(match[2]), len(wrote) - limit)
        self.assertEqual(bool(match[1]), wrote[head - 1 : head] != b"\n")

    def test_up_to_the_limit_nothing_changes(self) -> None:
        wrote = lines_of(1, 1000)
        self.write(wrote)
        self.assertEqual(self.trimmer(1000).finish(), (0, 1000))
        self.assertEqual(self.path.read_bytes(), wrote)

    def test_beyond_it_head_and_tail_stay_byte_for_byte(self) -> None:
        wrote = bytes(random.Random(2).randbytes(300_000))
        self.write(wrote)
        start, end = self.trimmer(10_001).finish()
        found = self.path.read_bytes()
        self.assertEqual((start, end), (0, len(found)))
        self.assert_cut(found, wrote, 10_001)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([p.name for p in self.path.parent.iterdir()], ["1.log"])

    def test_one_byte_too_many_gives_no_longer_log(self) -> None:
        wrote = lines_of(3, 1001)
        self.write(wrote)
        _, end = self.trimmer(1000).finish()
        found = self.path.read_bytes()
        self.assertEqual(end, len(found))
        self.assertLessEqual(len(found), 1001)
        match = re.search(LINE, found)
        assert match is not None
        self.assertEqual(found[: match.start()], wrote[:500])
        self.assertEqual(found[match.end() :], wrote[500 + int(match[2]) :])

    def test_only_the_run_is_cut_not_what_stands_before_it(self) -> None:
        before, wrote = lines_of(4, 5000), lines_of(5, 50_000)
        self.write(before)
        self.write(wrote)
        start, end = self.trimmer(2000, start=5000).finish()
        found = self.path.read_bytes()
        self.assertEqual((start, end, found[:5000]), (5000, len(found), before))
        self.assert_cut(found[5000:], wrote, 2000)

    def test_nothing_at_all_may_be_kept(self) -> None:
        self.write(lines_of(6, 5000))
        self.trimmer(0).finish()
        self.assertEqual(self.path.read_bytes(), b"=== queuectl: 5000 bytes left out ===\n")

    @unittest.skipUnless(LINUX, "punching holes is Linux's")
    def test_a_growing_log_gives_its_middle_back_to_the_disk(self) -> None:
        trimmer, wrote = self.trimmer(100_000), b""
        for number in range(12):
            part = lines_of(number, MIB)
            self.write(part)
            wrote += part
            trimmer.look()
            shown = self.shown()
            self.assertEqual(shown[:50_000], wrote[:50_000])
            self.assertEqual(shown[-MIB:], wrote[-MIB:])
            self.assertLess(self.path.stat().st_blocks * 512, 5 * MIB)
        self.assertLess(len(shown), 4 * MIB)
        trimmer.finish()
        self.assert_cut(self.path.read_bytes(), wrote, 100_000)

    @unittest.skipUnless(LINUX, "punching holes is Linux's")
    def test_who_stands_in_the_gap_is_told_how_much_is_missing(self) -> None:
        trimmer, wrote = self.trimmer(100_000), lines_of(9, 6 * MIB)
        self.write(wrote)
        reader = logs.open_plain(str(self.path))
        self.addCleanup(os.close, reader)
        _, position = logs.read_at(reader, 0, 2 * MIB)
        self.assertEqual(position, MIB)
        trimmer.look()
        told, position = logs.read_at(reader, position, MIB)
        self.assertEqual(told, b"=== queuectl: %d bytes left out ===\n" % (4 * MIB))
        rest = b""
        while chunk := logs.read_at(reader, position, MIB)[0]:
            rest, position = rest + chunk, position + len(chunk)
        self.assertEqual(rest, wrote[-MIB:])

    @unittest.skipUnless(LINUX, "punching holes is Linux's")
    def test_a_log_that_was_moved_keeps_its_gap_and_is_read_without_it(self) -> None:
        trimmer, wrote = self.trimmer(100_000), lines_of(7, 6 * MIB) + b"\n"
        self.write(wrote)
        moved = self.path.with_name("moved")
        self.path.rename(moved)
        trimmer.finish()
        self.assertLess(moved.stat().st_blocks * 512, MIB)
        shown = self.shown(moved)
        self.assertEqual((shown[:50_000], shown[-50_000:]), (wrote[:50_000], wrote[-50_000:]))
        self.assertLess(len(shown), 100_100)
        for lines in (1, 100, 10**9):
            start = logs.tail_start(str(moved), lines)
            self.assertEqual(
                self.shown(moved, start=start).count(b"\n"), min(lines, shown.count(b"\n"))
            )

    def test_a_job_that_cuts_its_own_log_breaks_nothing(self) -> None:
        self.write(lines_of(8, 5000))
        trimmer = self.trimmer(MIB, start=5000)
        for number in range(4):
            self.write(lines_of(number, 4 * MIB))
            trimmer.look()
            os.ftruncate(self.fd, 0)
            trimmer.look()
        self.write(b"the end\n")
        self.assertEqual(trimmer.finish(), (0, 8))
        self.assertEqual(self.path.read_bytes(), b"the end\n")

    def test_a_line_that_a_job_wrote_is_no_gap(self) -> None:
        wrote = b"=== queuectl: 5 bytes left out ===\n0123456789\n"
        self.write(wrote)
        os.ftruncate(self.fd, 3 * MIB)  # a hole of the job's own
        self.write(b"end\n")
        self.assertEqual(self.shown(), self.path.read_bytes())


@unittest.skipUnless(LINUX, "/proc tells the memory")
class LimitedRunTest(QueueTest):
    def test_every_run_is_cut_by_itself_and_found_again(self) -> None:
        self.box.ok("config", "set", "log-max-size", "4000")
        job = self.box.enqueue(
            'seq "$QUEUECTL_JOB_RUN"00000 "$QUEUECTL_JOB_RUN"09999; exit 1',
            "--max-retries", "1", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        self.box.wait_state(job, "dead")
        log = self.box.log(job)
        headline = log.index(b"=== queuectl: attempt 2 of 2")
        for run, part in enumerate((log[:headline], log[log.index(b"\n", headline) + 1 :]), 1):
            wrote = b"".join(b"%d\n" % (run * 100_000 + n) for n in range(10_000))
            self.assertEqual((part[:2000], part[-2000:]), (wrote[:2000], wrote[-2000:]))
            self.assertIn(b"%d bytes left out" % (len(wrote) - 4000), part)

    def test_much_output_costs_little_memory_and_disk(self) -> None:
        self.box.ok("config", "set", "log-max-size", "8MiB")
        gate = self.box.gate("gate")
        job = self.box.enqueue(f"yes 0123456789abcde | head -c 400000000; cat {gate}")
        self.box.ok("worker", "start")
        log = self.box.state / "logs" / f"{job}.log"
        wait_for(lambda: log.exists() and log.stat().st_size == 400_000_000, "the output", 120)
        wait_for(lambda: log.stat().st_blocks * 512 < 160 * MIB, "the middle to go", 60)
        (worker,) = self.box.workers()
        gate.open()
        self.box.wait_state(job, "completed", timeout_s=60)
        found = self.box.log(job)
        self.assertLess(len(found), 8 * MIB + 100)
        line = b"=== queuectl: %d bytes left out ===\n" % (400_000_000 - 8 * MIB)
        wrote = b"0123456789abcde\n" * (MIB // 4)
        self.assertEqual(found, wrote + line + wrote)
        memory = Path(f"/proc/{worker['pid']}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", memory)
        assert peak is not None
        self.assertLess(int(peak[1]), 50_000)

    def test_what_a_killed_worker_left_is_cut_too(self) -> None:
        self.box.ok("config", "set", "log-max-size", "4000")
        job = self.box.enqueue("seq 100000 199999; kill -9 $PPID", "--max-retries", "0")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "dead")
        wrote = b"".join(b"%d\n" % n for n in range(100_000, 200_000))
        found = self.box.log(job)
        self.assertEqual((found[:2000], found[-2000:]), (wrote[:2000], wrote[-2000:]))
        self.assertIn(b"%d bytes left out" % (len(wrote) - 4000), found)


if __name__ == "__main__":
    unittest.main()
