"""`queuectl logs`: raw bytes, parts of a log, and following it over retries to the job's end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import unittest
from pathlib import Path

from tests.support import LINUX, QueueTest, wait_for

MIB = 1 << 20


class LogsTest(QueueTest):
    def test_raw_bytes_of_the_job_started_last(self) -> None:
        self.assertEqual(self.box.run("logs").code, 3)
        job = self.box.enqueue(r"printf '\000\377\033[31m\r\nno newline'")
        self.assertEqual(self.box.ok("logs", job).raw, b"")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "completed")
        self.box.enqueue("true", "--hold")
        self.assertEqual(self.box.ok("logs").raw, b"\0\xff\033[31m\r\nno newline")
        self.assertEqual(Path(self.box.ok("logs", "--path").out.strip()).read_bytes()[:1], b"\0")
        self.assertEqual(self.box.run("logs", "99").code, 3)
        self.assertEqual(self.box.run("logs", job, "--json").code, 2)

    def test_the_last_lines_of_the_log_or_of_a_run(self) -> None:
        job = self.box.enqueue(
            'for n in 1 2 3 4 5; do echo "run $QUEUECTL_JOB_RUN line $n"; done; exit 1',
            "--max-retries", "2", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        self.box.wait_state(job, "dead")
        self.assertEqual(self.box.ok("logs", job, "-n", "1").out, "run 3 line 5\n")
        self.assertEqual(self.box.ok("logs", job, "-n", "0").out, "")
        self.assertEqual(self.box.ok("logs", job, "-n", "99").raw, self.box.log(job))
        for run in ("1", "2", "3"):
            every = "".join(f"run {run} line {n}\n" for n in range(1, 6))
            self.assertEqual(self.box.ok("logs", job, "--run", run).out, every)
            self.assertEqual(self.box.ok("logs", job, "-f", "--run", run).out, every)
        last = self.box.ok("logs", job, "--run", "2", "-n", "2").out
        self.assertEqual(last, "run 2 line 4\nrun 2 line 5\n")
        self.assertEqual(self.box.run("logs", job, "--run", "4").code, 3)
        self.assertEqual(self.box.run("logs", job, "--run", "x").code, 2)

    def test_a_run_that_is_going_on(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(
            f'echo "run $QUEUECTL_JOB_RUN"; [ $QUEUECTL_JOB_RUN = 2 ] && cat {gate}; exit 1',
            "--max-retries", "1", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        wait_for(lambda: self.box.ok("logs").out.endswith("run 2\n"), "the second run's line")
        self.assertEqual(self.box.ok("logs", "--run", "2").out, "run 2\n")
        self.assertEqual(self.box.ok("logs", "--run", "1").out, "run 1\n")
        gate.open()
        self.box.wait_state(job, "dead")

    def test_a_reader_that_leaves_is_no_error(self) -> None:
        job = self.box.enqueue("yes | head -c 3000000")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "completed")
        reader = self.start("logs", job)
        assert reader.stdout is not None
        assert reader.stderr is not None
        self.assertEqual(reader.stdout.read(2), b"y\n")
        reader.stdout.close()
        self.assertEqual(reader.stderr.read(), b"")
        reader.wait(30)


class FollowTest(QueueTest):
    def follow(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `logs -f` and give it."""
        return self.start("logs", "-f", *words)

    def ended(self, reader: subprocess.Popen[bytes]) -> bytes:
        """Give all that a follower printed, once it has ended by itself."""
        assert reader.stdout is not None
        assert reader.stderr is not None
        out, err = reader.stdout.read(), reader.stderr.read()
        self.assertEqual((reader.wait(60), err), (0, b""))
        return out

    def test_from_before_the_first_run_over_every_retry_to_the_end(self) -> None:
        job = self.box.enqueue(
            'echo "run $QUEUECTL_JOB_RUN"; exit 1', "--max-retries", "2", "--backoff-base", "0"
        )
        reader = self.follow(job)
        self.box.ok("worker", "start")
        out = self.ended(reader)
        self.assertEqual(self.box.state_of(job), "dead")
        self.assertEqual(out, self.box.log(job))
        self.assertEqual(out.count(b"run "), 3)

    def test_what_is_written_is_shown_at_once_and_a_cancelled_job_ends_it(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(f"echo one; cat {gate}; echo two; sleep 600")
        self.box.ok("worker", "start")
        reader = self.follow(job)
        assert reader.stdout is not None
        self.assertEqual(reader.stdout.readline(), b"one\n")
        gate.open()
        self.assertEqual(reader.stdout.readline(), b"two\n")
        self.assertIsNone(reader.poll())
        self.box.ok("cancel", job)
        self.ended(reader)

    def test_with_n_and_of_one_run_only(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(
            f'echo a; echo b; cat {gate}; echo "c $QUEUECTL_JOB_RUN"; exit 1',
            "--max-retries", "1", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        wait_for(lambda: self.box.ok("logs", job).out == "a\nb\n", "the first lines")
        last, only = self.follow(job, "-n", "1"), self.follow(job, "--run", "1")
        for reader in (last, only):
            assert reader.stdout is not None
            self.assertEqual(reader.stdout.readline(), b"b\n" if reader is last else b"a\n")
        gate.open()
        self.assertEqual(self.ended(only), b"b\nc 1\n")
        gate.open()
        out = self.ended(last)
        self.assertEqual((out[:4], out[-4:]), (b"c 1\n", b"c 2\n"))

    def test_a_log_that_is_moved_while_the_job_runs_and_before_the_next_run(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(
            f'echo "begin $QUEUECTL_JOB_RUN"; cat {gate}; echo "end $QUEUECTL_JOB_RUN"; exit 1',
            "--max-retries", "1", "--backoff-base", "0",
        )  # fmt: skip
        self.box.ok("worker", "start")
        reader = self.follow(job)
        assert reader.stdout is not None
        self.assertEqual(reader.stdout.readline(), b"begin 1\n")
        log = self.box.state / "logs" / f"{job}.log"
        log.rename(self.box.dir / "moved.log")
        gate.open()
        lines = [reader.stdout.readline() for _ in range(2)]
        self.assertEqual(lines, [b"end 1\n", b"begin 2\n"])
        gate.open()
        self.assertEqual(self.ended(reader), b"end 2\n")

    def test_every_byte_of_every_run_though_each_is_cut(self) -> None:
        self.box.ok("config", "set", "log-max-size", "10k")
        gate = self.box.gate("gate")
        job = self.box.enqueue(
            f"echo begin; cat {gate}; "
            'seq "$QUEUECTL_JOB_RUN"00000 "$QUEUECTL_JOB_RUN"49999; exit 1',
            "--max-retries", "2", "--backoff-base", "0",
        )  # fmt: skip
        reader = self.follow(job)
        self.box.ok("worker", "start")
        assert reader.stdout is not None
        out = b""
        for run in (1, 2, 3):
            while out.count(b"begin\n") < run:
                out += reader.stdout.readline()
            gate.open()
        out += self.ended(reader)
        numbers = [line for line in out.splitlines() if line.isdigit()]
        wrote = [b"%d" % (run * 100_000 + n) for run in (1, 2, 3) for n in range(50_000)]
        self.assertEqual(numbers, wrote)
        self.assertEqual(out.count(b"=== queuectl: attempt"), 2)
        self.assertLess(len(self.box.log(job)), 31_000)

    def test_a_hundred_megabytes_byte_for_byte_in_little_memory(self) -> None:
        job = self.box.enqueue("yes $QUEUECTL_JOB_ID-0123456789 | head -c 100000000")
        reader = self.follow(job)
        self.box.ok("worker", "start")
        assert reader.stdout is not None
        found, size, peak = hashlib.sha256(), 0, 0
        while chunk := reader.stdout.read(MIB):
            found.update(chunk)
            size += len(chunk)
            peak = max(peak, _peak_kib(reader.pid))
        reader.wait()
        wrote = (f"{job}-0123456789\n".encode() * 8_000_000)[:100_000_000]
        self.assertEqual((reader.returncode, size), (0, 100_000_000))
        self.assertEqual(found.digest(), hashlib.sha256(wrote).digest())
        if LINUX:
            self.assertGreater(peak, 1_000)  # KiB
            self.assertLess(peak, 50 * 1024)

    def test_it_does_not_spin_and_leaves_when_its_reader_does(self) -> None:
        gate = self.box.gate("gate")
        job = self.box.enqueue(f"echo one; cat {gate}")
        self.box.ok("worker", "start")
        reader = self.follow(job)
        assert reader.stdout is not None
        assert reader.stderr is not None
        self.assertEqual(reader.stdout.readline(), b"one\n")
        reader.stdout.close()  # the job writes nothing more, and still it leaves
        _, _, usage = os.wait4(reader.pid, 0)
        reader.returncode = 141
        self.assertEqual(reader.stderr.read(), b"")
        self.assertLess(usage.ru_utime + usage.ru_stime, 5)
        gate.open()
        self.box.wait_state(job, "completed")


def _peak_kib(pid: int) -> int:
    """Give the most memory that a process had since its exec; ru_maxrss counts us in, too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)


if __name__ == "__main__":
    unittest.main()
