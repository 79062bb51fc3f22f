"""`queuectl status`: counts, workers, waits and pace; --watch on a terminal; --check."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import signal
import sqlite3
import struct
import termios
import unittest
from unittest import mock

from queuectl.commands import status
from tests.support import LINUX, QueueTest, wait_for

STATES = ["pending", "processing", "completed", "failed", "dead", "cancelled"]


class StatusTest(QueueTest):
    def test_a_line_for_each_state_zeros_too_then_who_works(self) -> None:
        told = self.box.ok("status").lines
        self.assertEqual(told[:6], [f"{state}: 0" for state in STATES])
        self.assertEqual(told[6], "workers: 0 (0 busy)")
        gate = self.box.gate("gate")
        self.box.ok("worker", "start")
        job = self.box.enqueue(f"cat {gate}")
        self.box.wait_state(job, "processing")
        done = self.box.enqueue("true", "--hold")
        self.box.ok("cancel", done)
        self.box.enqueue("true")
        told = self.box.ok("status").lines
        self.assertEqual(
            told[:7],
            ["pending: 1", "processing: 1", *(f"{s}: 0" for s in STATES[2:5]), "cancelled: 1",
             "workers: 1 (1 busy)"],
        )  # fmt: skip
        self.assertIn(f"job {job} for", told[7])
        self.assertIn(f"cat {gate}", told[7])
        self.assertTrue(told[8].startswith("oldest wait: "), told)
        status = self.box.ok("status", "--json").json
        assert isinstance(status, dict)
        self.assertEqual(status["jobs"]["processing"], 1)
        self.assertEqual([w["job"] for w in status["workers"]], [job])
        self.assertGreaterEqual(status["oldest_wait_s"], 0)
        self.assertIsNone(status["rate_per_minute"])
        gate.open()
        self.box.ok("wait")
        status = self.box.ok("status", "--json").json
        assert isinstance(status, dict)
        self.assertIsNone(status["oldest_wait_s"])
        self.assertIsNone(status["drain_s"])
        self.assertGreater(status["rate_per_minute"], 0)
        self.assertTrue(any(line.startswith("rate: ") for line in self.box.ok("status").lines))

    def test_an_estimate_of_when_all_is_done(self) -> None:
        gate = self.box.gate("gate")
        self.box.ok("worker", "run", "--burst")
        for _ in range(2):
            self.box.enqueue("true")
        self.box.ok("worker", "run", "--burst")
        self.box.enqueue(f"cat {gate}")
        self.box.enqueue("true")
        for words in (("--hold",), ("--delay", "1h"), ("--queue", "shut"), ("--queue", "other")):
            self.box.enqueue("true", *words)
        self.box.ok("queue", "pause", "shut")
        self.assertEqual(self.estimate(), (None, False))  # nobody works
        self.box.ok("worker", "start", "--queue", "default,shut")
        self.box.wait_state("3", "processing")
        drain_s, shown = self.estimate()
        self.assertAlmostEqual(drain_s, 2, delta=0.2)  # the one that runs, and the next
        self.assertTrue(shown)
        self.box.ok("worker", "start")  # for other too
        self.box.wait_state("8", "completed")
        self.box.ok("worker", "stop", "--no-wait")
        self.assertEqual(self.estimate(), (None, False))
        gate.open()
        wait_for(lambda: not self.box.ok("worker", "list", "-q").lines, "the workers to go")

    def estimate(self) -> tuple[float | None, bool]:
        """Give how many jobs are left to do, as the estimate has it, and whether it is shown."""
        status = self.box.ok("status", "--json").json
        assert isinstance(status, dict)
        self.assertGreater(status["rate_per_minute"], 0)
        shown = any(x.startswith("drained in: about") for x in self.box.ok("status").lines)
        left = status["drain_s"] and status["drain_s"] * status["rate_per_minute"] / 60
        return left, shown

    def test_paused_queues_are_named(self) -> None:
        self.box.enqueue("true", "--queue", "slow")
        self.box.ok("queue", "pause", "slow")
        self.assertIn("paused: slow", self.box.ok("status").lines)
        status = self.box.ok("status", "--json").json
        assert isinstance(status, dict)
        self.assertEqual((status["paused"], status["oldest_wait_s"]), (["slow"], None))


class CheckTest(QueueTest):
    def problems(self, *words: str, **more: object) -> list[str]:
        """Check, and give what is wrong; the exit status must say the same."""
        result = self.box.run("status", "--check", "--json", *words, **more)  # type: ignore[arg-type]
        told = result.json
        assert isinstance(told, dict)
        self.assertEqual(result.code, 1 if told["problems"] else 0)
        self.assertEqual(told["healthy"], not told["problems"])
        plain = self.box.run("status", "--check", *words, **more)  # type: ignore[arg-type]
        self.assertEqual(plain.code, result.code)
        self.assertIn("unhealthy: " if result.code else "healthy", plain.out)
        return told["problems"]  # type: ignore[no-any-return]

    def test_nothing_to_do_is_healthy(self) -> None:
        self.box.enqueue("true", "--hold")
        self.box.enqueue("true", "--delay", "1h")
        self.box.enqueue("true", "--queue", "slow", "--hold")
        self.assertEqual(self.problems("--max-age", "0"), [])

    def test_runnable_jobs_that_no_worker_serves(self) -> None:
        self.box.ok("worker", "start", "--queue", "a")
        self.box.enqueue("true", "--queue", "a")
        self.box.ok("wait")
        self.assertEqual(self.problems(), [])
        self.box.enqueue("true", "--queue", "b")
        (problem,) = self.problems()
        self.assertIn("queue b", problem)
        self.box.ok("queue", "pause", "b")
        self.assertEqual(self.problems(), [])

    def test_a_job_that_can_never_run(self) -> None:
        self.box.ok("worker", "start")
        gate = self.box.gate("gate")
        self.box.ok("queue", "set", "gpu", "--concurrency", "4")
        self.box.wait_state(self.box.enqueue(f"cat {gate}", "--queue", "gpu"), "processing")
        job = self.box.enqueue("true", "--queue", "gpu", "--slots", "4")
        self.assertEqual(self.problems(), [])  # it only has to wait
        self.box.ok("queue", "set", "gpu", "--concurrency", "3")
        (problem,) = self.problems()
        self.assertIn(f"job {job} needs 4 slots and queue gpu has 3", problem)
        self.box.ok("queue", "set", "gpu", "--concurrency", "4")
        self.assertEqual(self.problems(), [])
        gate.open()
        self.box.ok("wait")

    def test_a_delayed_job_that_has_become_due_waits_too(self) -> None:
        self.box.enqueue("true", "--delay", "0.3")
        wait_for(lambda: self.box.run("status", "--check").code, "the job to become due")
        self.assertEqual(len(self.problems()), 1)

    def test_the_oldest_runnable_job_waits_too_long(self) -> None:
        gate = self.box.gate("gate")
        self.box.ok("worker", "start")
        self.box.wait_state(self.box.enqueue(f"cat {gate}"), "processing")
        self.box.enqueue("true")
        self.assertEqual(self.problems("--max-age", "1h"), [])
        late = ("status", "--check", "--max-age", "0.2s")
        wait_for(lambda: self.box.run(*late).code, "the wait to be too long")
        self.assertEqual(len(self.problems("--max-age", "0.2s")), 1)
        gate.open()
        self.box.ok("wait")

    def test_a_job_that_cannot_be_ended(self) -> None:
        gate = self.box.gate("gate")
        self.box.ok("worker", "start")
        job = self.box.enqueue(f"cat {gate}")
        self.box.wait_state(job, "processing")
        db = sqlite3.connect(self.box.db, timeout=30)
        with db:
            db.execute("UPDATE job SET stuck = 'process 1 cannot be ended'")
        db.close()
        self.assertEqual(self.problems(), [f"job {job}: process 1 cannot be ended"])
        gate.open()
        self.box.wait_state(job, "completed")

    def test_a_database_that_cannot_be_written(self) -> None:
        self.box.ok("queue", "pause", "q")
        db = sqlite3.connect(self.box.db, timeout=30, isolation_level=None)
        self.addCleanup(db.close)
        db.execute("SELECT count(*) FROM job").fetchone()  # it keeps -shm there
        limit = (4096, 4096)  # no file may be written beyond that: the WAL least of all
        (problem,) = self.problems(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        )
        self.assertIn("cannot be written", problem)

    def test_flags_that_do_not_go_together(self) -> None:
        for words in (
            ("--max-age", "1h"),
            ("--check", "--watch"),
            ("--watch", "0"),
            ("--watch", "x"),
        ):
            self.assertEqual(self.box.run("status", *words).code, 2, words)


class WatchTest(QueueTest):
    def watch(self, shell: tuple[str, ...] = ()) -> tuple[int, int]:
        """Start `status --watch` on a terminal of 40 columns; give its pid and the terminal."""
        pid, screen = pty.fork()
        if pid == 0:
            os.chdir(self.box.dir)
            command = [*shell, *self.box.command("status", "--watch", "0.05")]
            os.execvpe(command[0], command, {**self.box.env, "TERM": "xterm", "NO_COLOR": "1"})
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("4H", 8, 40, 0, 0))
        return pid, screen

    def read_until(self, screen: int, text: bytes, seen: bytes = b"") -> bytes:
        while text not in seen:
            seen += os.read(screen, 4096)
        return seen

    def rest(self, screen: int) -> bytes:
        """Give what a terminal still got, to the end."""
        seen = b""
        try:
            while chunk := os.read(screen, 4096):
                seen += chunk
        except OSError:
            pass
        os.close(screen)
        return seen

    def test_it_redraws_and_leaves_the_terminal_as_it_was(self) -> None:
        self.box.ok("list")
        for ending in ("^C", signal.SIGTERM, signal.SIGHUP):
            pid, screen = self.watch()
            modes = termios.tcgetattr(screen)
            seen = self.read_until(screen, b"pending: 0")
            job = self.box.enqueue("echo " + "x" * 100)
            seen = self.read_until(screen, b"pending: 1", seen)
            self.box.ok("cancel", job)
            if ending == "^C":
                os.write(screen, b"\x03")
            else:
                os.kill(pid, ending)  # type: ignore[arg-type]
            seen += self.rest(screen)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with self.subTest(ending):
                self.assertEqual(code, 130 if ending == "^C" else 128 + ending)  # type: ignore[operator]
                self.assertNotIn(b"Traceback", seen)
                self.assertEqual(seen.count(b"\x1b[?1049h"), 1)
                self.assertEqual(seen.count(b"\x1b[?25l"), 1)
                self.assertIn(b"\x1b[?25h\x1b[?1049l", seen[seen.rindex(b"pending") :])
                self.assertNotIn(b"\x1b[2J", seen)  # clearing is what flickers
                self.assertEqual(modes[3] & termios.ECHO, termios.ECHO)

    @unittest.skipUnless(LINUX, "no sigtimedwait")
    def test_it_stops_with_the_old_screen_in_view_and_goes_on(self) -> None:
        self.box.ok("list")
        pid, screen = self.watch(
            shell=("sh", "-mc", '"$@"; echo stopped; fg; echo over; cat', "sh")
        )
        self.read_until(screen, b"pending: 0")
        os.write(screen, b"\x1a")
        seen = self.read_until(screen, b"stopped\r\n")
        self.assertIn(b"\x1b[?25h\x1b[?1049l", seen)
        seen = self.read_until(screen, b"pending: 0", seen[seen.rindex(b"stopped") :])
        self.assertIn(b"\x1b[?1049h\x1b[?25l", seen)
        os.write(screen, b"\x03")
        self.assertIn(b"\x1b[?25h\x1b[?1049l", self.read_until(screen, b"over\r\n"))
        os.write(screen, b"\x04")  # the shell has held the terminal: what is written last counts
        self.rest(screen)
        os.waitpid(pid, 0)

    def test_lines_that_the_terminal_breaks_are_counted(self) -> None:
        told = ["a" * 81, "b", "c"]
        for lines, wanted in ((5, told), (4, told), (3, told[:2]), (2, told[:1]), (1, [])):
            size = os.terminal_size((80, lines))
            with self.subTest(lines), mock.patch("os.get_terminal_size", return_value=size):
                self.assertEqual(status._fitting(told), wanted)

    def test_a_frame_fits_the_terminal(self) -> None:
        self.box.ok("worker", "start", "--count", "4")
        pid, screen = self.watch()
        seen = self.read_until(screen, b"\x1b[J")
        frames = self.read_until(screen, b"\x1b[H", seen[seen.rindex(b"\x1b[J") + 3 :])
        frames = self.read_until(screen, b"\x1b[J", frames[frames.index(b"\x1b[H") :])
        os.kill(pid, signal.SIGTERM)
        self.rest(screen)
        os.waitpid(pid, 0)
        self.assertLessEqual(frames.split(b"\x1b[J")[0].count(b"\r\n"), 7)

    def test_into_a_pipe_it_writes_one_after_the_other(self) -> None:
        watcher = self.start("status", "--watch", "0.05", "--json")
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        for _ in range(3):
            self.assertIn("jobs", json.loads(watcher.stdout.readline()))
        watcher.stdout.close()
        self.assertEqual(watcher.stderr.read(), b"")
        watcher.wait(30)
        plain = self.start("status", "--watch", "0.05")
        assert plain.stdout is not None
        lines = [plain.stdout.readline() for _ in range(20)]
        self.assertGreaterEqual(lines.count(b"pending: 0\n"), 2)
        self.assertNotIn(b"\x1b", b"".join(lines))
        plain.send_signal(signal.SIGINT)
        self.assertEqual(plain.wait(30), 130)


if __name__ == "__main__":
    unittest.main()
