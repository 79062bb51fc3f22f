"""`queuectl list`: its order, filters, columns, widths, colours, and a reader that leaves."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unittest

from queuectl import render
from tests.support import QueueTest, Sandbox

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(box: Sandbox, columns: int, *words: str, **env: str) -> str:
    """Call queuectl with a terminal of so many columns as its output; give what it printed."""
    screen, answer = pty.openpty()
    fcntl.ioctl(answer, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    process = box.start(*words, stdout=answer, env={**box.env, "TERM": "xterm", **env})
    os.close(answer)
    printed = b""
    try:
        while chunk := os.read(screen, 65_536):
            printed += chunk
    except OSError:
        pass  # that is how a terminal ends
    os.close(screen)
    err = process.stderr.read() if process.stderr else b""
    process.wait(30)
    for pipe in (process.stderr, process.stdout):
        if pipe:
            pipe.close()
    if process.returncode or b"Traceback" in err:
        raise AssertionError(err)
    return printed.decode().replace("\r\n", "\n")


class ListTest(QueueTest):
    def fill(self) -> dict[str, str]:
        """Make a job of each kind; give their ids."""
        add = self.box.enqueue
        gate = self.box.gate("gate")
        ids = {
            "first": add("true", "--id", "first", "--queue", "a", "--label", "x"),
            "second": add("exit 3", "--id", "second", "--queue", "a", "--max-retries", "0"),
            "runs": add(f"cat {gate}", "--id", "runs", "--priority", "-1"),
        }
        self.box.ok("worker", "start")
        self.box.wait_state("second", "dead")
        self.box.wait_state("runs", "processing")
        self.addCleanup(gate.open)
        add("true", "--id", "later", "--delay", "1h", "--label", "x")
        add("true", "--id", "low", "--priority", "-5")
        add("true", "--id", "high", "--priority", "5")
        add("true", "--id", "held", "--hold")
        return ids

    def ids(self, *words: str) -> list[str]:
        return self.box.ok("list", "-q", *words).lines

    def test_what_runs_then_what_is_next_then_what_ended_last(self) -> None:
        self.fill()
        order = self.ids()
        self.assertEqual(order[:3], ["runs", "high", "low"])
        self.assertEqual(set(order[3:5]), {"held", "later"})
        self.assertEqual(order[5:], ["second", "first"])

    def test_filters(self) -> None:
        self.fill()
        self.assertEqual(self.ids("--state", "dead"), ["second"])
        self.assertEqual(self.ids("--queue", "a"), ["second", "first"])
        self.assertEqual(self.ids("--label", "x"), ["later", "first"])
        self.assertEqual(self.ids("--label", "x", "--state", "completed"), ["first"])
        self.assertEqual(self.ids("--limit", "2"), ["runs", "high"])
        self.assertEqual(len(self.ids("--since", "1h")), 7)
        self.assertEqual(self.ids("--since", "0"), [])
        for words in (("--state", "x"), ("--limit", "-1"), ("--since", "x"), ("--queue", "../x")):
            self.assertEqual(self.box.run("list", *words).code, 2, words)

    def test_fields_are_columns_and_keys(self) -> None:
        self.fill()
        table = self.box.ok("list", "--state", "dead", "--fields", "id,exit_code,label,after")
        self.assertEqual([line.split() for line in table.lines], [
            ["ID", "EXIT_CODE", "LABEL", "AFTER"], ["second", "3", "-"],
        ])  # fmt: skip
        told = self.box.ok("list", "--state", "dead", "--fields", "state,id", "--json").json
        self.assertEqual(told, [{"state": "dead", "id": "second"}])
        wrong = self.box.run("list", "--fields", "id,exitcode")
        self.assertEqual(wrong.code, 2)
        self.assertIn("exit_code", wrong.err)
        (job,) = self.box.ok("list", "--state", "dead", "--json").json  # type: ignore[misc]
        self.assertEqual(tuple(job), render.JOB_FIELDS)

    def test_fifty_rows_unless_told_otherwise(self) -> None:
        lines = "\n".join(["true"] * 60).encode()
        self.box.ok("enqueue", "--file", "-", stdin=lines)
        some = self.box.ok("list")
        self.assertEqual(len(some.lines), 51)
        self.assertIn("--all", some.err)
        self.assertEqual(self.box.ok("list", "--limit", "60").err, "")
        for words, rows in (("--all",), 61), (("-q",), 60), (("--limit", "7"), 8):
            self.assertEqual(len(self.box.ok("list", *words).lines), rows)
        self.assertEqual(len(self.box.ok("list", "--json").json), 60)  # type: ignore[arg-type]

    def test_nothing_is_an_empty_answer(self) -> None:
        self.assertEqual(self.box.ok("list").out, "")
        self.assertEqual(self.box.ok("list", "--json").json, [])


class WidthTest(QueueTest):
    def setUp(self) -> None:
        super().setUp()
        add = self.box.enqueue
        add("echo " + "x" * 300, "--queue", "a-rather-long-name-for-a-queue")
        add("echo 日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語")
        add("echo \x1b[31mred\x1b[0m \u202e evil\nsecond line")
        add("true", "--id", "i" * 64)

    def test_no_line_is_wider_than_the_terminal(self) -> None:
        for columns in (200, 132, 80, 60, 40, 20, 10, 3):
            shown = on_terminal(self.box, columns, "list", "--color", "never")
            with self.subTest(columns):
                self.assertEqual(shown.count("\n"), 5)
                widths = [render.cell_width(line) for line in shown.splitlines()]
                self.assertIn("i" * 64 + "\n" if columns < 64 else "i" * 64, shown)
                self.assertLessEqual(max(widths), max(columns, 64))
                if columns < 64:  # the id alone is too wide
                    self.assertEqual(sum(width > columns for width in widths), 1)
                if columns >= 80:
                    self.assertIn("…", shown)
                    self.assertIn("COMM", shown)

    def test_ids_are_shown_whole_wherever_they_are_shown(self) -> None:
        dies, runs = "d" * 64, "r" * 64
        gate = self.box.gate("gate")
        self.box.enqueue(
            "exit 3 # " + "y" * 200, "--id", dies, "--max-retries", "0", "--priority", "9"
        )
        self.box.enqueue(f"cat {gate}", "--id", runs, "--priority", "8")
        self.box.ok("worker", "start")
        self.addCleanup(gate.open)
        self.box.wait_state(runs, "processing")
        for words, wanted, rows in (
            (("list",), (dies, runs), 7),
            (("list", "--fields", "command,id"), (dies, runs), 7),
            (("dlq", "list"), (dies,), 2),
            (("worker", "list"), (runs,), 2),
            (("status",), (runs,), 9),
            (("show", runs), (runs,), None),
        ):
            for columns in (200, 80, 20):
                shown = on_terminal(self.box, columns, *words, "--color", "never")
                with self.subTest(words=words, columns=columns):
                    for job in wanted:
                        self.assertRegex(shown, rf"(?m)(^| ){job}( |$)")
                    if rows:
                        self.assertGreaterEqual(shown.count("\n"), rows)
                        self.assertLessEqual(shown.count("\n"), rows + 2)

        for words in (("dlq", "list"), ("dlq", "list", "--group"), ("show", dies)):
            self.assertIn("y" * 200, self.box.ok(*words).out, words)  # through a pipe

    def test_a_pipe_gets_everything(self) -> None:
        shown = self.box.ok("list").out
        self.assertIn("x" * 300, shown)
        self.assertIn("a-rather-long-name-for-a-queue", shown)
        self.assertIn("RUNS", shown)

    def test_what_jobs_say_is_harmless(self) -> None:
        for words in (("list",), ("list", "--fields", "command"), ("show", "3"), ("why", "3")):
            shown = self.box.ok(*words).out
            with self.subTest(words):
                self.assertNotIn("\x1b", shown)
                self.assertNotIn("\u202e", shown)
        self.assertIn("\\x1b[31m", self.box.ok("list").out)

    def test_colours_by_the_rules_and_columns_that_still_line_up(self) -> None:
        plain = on_terminal(self.box, 100, "list", NO_COLOR="1")
        colored = on_terminal(self.box, 100, "list")
        self.assertNotIn("\x1b", plain)
        self.assertIn("\x1b[33mpending\x1b[0m", colored)
        self.assertEqual(ESCAPE.sub("", colored), plain)
        self.assertNotIn("\x1b", on_terminal(self.box, 100, "list", TERM="dumb"))
        self.assertNotIn("\x1b", self.box.ok("list").out)
        self.assertIn("\x1b", self.box.ok("list", env={"FORCE_COLOR": "1"}).out)
        self.assertIn("\x1b", self.box.ok("list", "--color", "always").out)


class ClosedPipeTest(QueueTest):
    def test_a_reader_that_leaves_gets_no_complaint(self) -> None:
        lines = "\n".join(["true " + "x" * 500] * 400).encode()
        self.box.ok("enqueue", "--file", "-", stdin=lines)
        for words in (("list", "--all"), ("list", "--json"), ("list", "-q"), ("status",)):
            lister = self.start(*words)
            head = subprocess.run(
                ["head", "-c", "1"], stdin=lister.stdout, stdout=subprocess.PIPE, timeout=60
            )
            assert lister.stdout is not None
            assert lister.stderr is not None
            lister.stdout.close()
            with self.subTest(words):
                self.assertEqual(len(head.stdout), 1)
                self.assertEqual(lister.stderr.read(), b"")


if __name__ == "__main__":
    unittest.main()
