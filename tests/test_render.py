"""How things look: escaping, tables, widths, lengths, instants, colours."""

from __future__ import annotations

import io
import os
import sys
import unittest
from unittest import mock

from queuectl import config, render
from tests.calls import CallTest
from tests.support import QueueTest

NOW = 1_800_000_000_000


class EscapeTest(unittest.TestCase):
    def test_nothing_that_moves_a_cursor_or_reorders_a_line(self) -> None:
        bidi = (0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
        for code in (*range(0x20), *range(0x7F, 0xA0), *bidi, 0x200B, 0xFEFF, 0xE0001, 0xDC80):
            with self.subTest(hex(code)):
                shown = render.one_line(f"a{chr(code)}b")
                self.assertTrue(shown.isprintable(), ascii(shown))
                self.assertEqual((shown[0], shown[-1]), ("a", "b"))
                self.assertTrue(shown.isascii(), ascii(shown))

    def test_what_is_harmless_stays(self) -> None:
        for text in ("", "plain", "ä€😀", "日本", "a\\b", "é", "שלום"):
            self.assertEqual(render.one_line(text), text)

    def test_the_common_ones_are_readable(self) -> None:
        self.assertEqual(render.one_line("a\n\t\r\x1b[0m"), "a\\n\\t\\r\\x1b[0m")


class HostileTest(QueueTest):
    """What jobs bring along is harmless in whatever a person looks at, but for the log itself."""

    def test_no_view_prints_it_raw(self) -> None:
        evil = "\x1b]0;t\x07\x1b[31m\x9b2J\u202ex\r"
        (self.box.dir / evil).mkdir()
        options = ("--max-retries", "0", "--label", evil, "--unique", evil, "--cwd", evil)
        gone = self.box.enqueue(f"true # {evil}", *options)
        said = self.box.enqueue("--max-retries", "0", "--", "sh", "-c", f"echo '{evil}'; exit 1")
        self.box.ok("schedule", "add", "s", "--cron", "0 0 1 1 *", "--label", evil, f": {evil}")
        self.box.ok("config", "set", "on-dead", f"false '{evil}'")
        (self.box.dir / evil).rmdir()
        self.box.run("worker", "run", "--burst")
        for words in (
            ("list",), ("list", "--fields", "label,unique,cwd,command,argv,error"), ("stats",),
            *(("show", job) for job in (gone, said)), *(("why", job) for job in (gone, said)),
            ("wait", gone, said), ("dlq", "list"), ("dlq", "list", "--group"), ("schedule", "list"),
            ("schedule", "show", "s"), ("config", "list"), ("status", "--check"), ("doctor",),
            ("metrics",), ("rerun", said), ("backup", f"{self.box.dir}/{evil}"),
        ):  # fmt: skip
            told = self.box.run(*words)
            with self.subTest(words):
                self.assertNotEqual(told.out, "")
                for line in (told.out + told.err).split("\n"):
                    self.assertTrue(line.isprintable(), ascii(line))
        self.assertIn(evil.encode(), self.box.ok("logs", said).raw)


class TableTest(unittest.TestCase):
    def test_columns_line_up(self) -> None:
        text = render.table(("ID", "NAME", "X"), [("1", "日本", "a"), ("10", "e\u0301", "b")])
        self.assertEqual(text, "ID  NAME  X\n1   日本  a\n10  e\u0301     b")

    def test_the_last_column_is_cut_to_the_width(self) -> None:
        text = render.table(("ID", "COMMAND"), [("1", "x" * 50)], width=20)
        self.assertEqual(text.splitlines()[1], "1   " + "x" * 15 + "…")
        text = render.table(("ID", "COMMAND"), [("1", "日" * 50)], width=20)
        self.assertLessEqual(max(map(render.cell_width, text.splitlines())), 20)
        text = render.table(("ID", "COMMAND"), [("1", "x" * 50)])
        self.assertIn("x" * 50, text)

    def test_what_people_type_is_never_cut(self) -> None:
        head, rows = ("ID", "STATE", "COMMAND"), [("1" * 30, "pending", "x" * 50), ("2", "d", "y")]
        lines = render.table(head, rows, width=60).split("\n")
        self.assertEqual(lines[1], "1" * 30 + "  pending  " + "x" * 18 + "…")
        lines = render.table(head, rows, width=45).split("\n")
        self.assertEqual(lines[1], "1" * 30 + "  pend…  xxxxx…")
        lines = render.table(head, rows, width=38).split("\n")
        self.assertEqual(lines[1:], ["1" * 30 + "  pendi…", "2" + " " * 31 + "d"])
        self.assertEqual(render.table(head, rows, width=5), "ID\n" + "1" * 30 + "\n2")
        lines = render.table(head, rows, width=12, whole=("COMMAND",)).split("\n")
        self.assertEqual(lines, ["COMMAND", "x" * 50, "y"])

    def test_a_narrow_terminal_does_without_the_spare_ones(self) -> None:
        head, row = ("ID", "RUNS", "QUEUE", "COMMAND"), ("1", "1/4", "default", "x" * 16)
        spare = ("RUNS", "QUEUE")
        for width, wanted in ((35, list(head)), (34, ["ID", "QUEUE", "COMMAND"])):
            shown = render.table(head, [row], width, spare=spare)
            self.assertEqual(shown.split("\n")[0].split(), wanted)
            self.assertNotIn("…", shown)

    def test_a_megabyte_is_not_measured(self) -> None:
        measured = 0

        def count(text: str) -> int:
            nonlocal measured
            measured += len(text)
            return len(text)

        with mock.patch.object(render, "cell_width", count):
            shown = render.table(("ID", "COMMAND"), [("1", "x" * 10**6)], width=80)
        self.assertEqual(shown.split("\n")[1], "1   " + "x" * 75 + "…")
        self.assertLess(measured, 20_000)

    def test_a_cell_cannot_break_a_line(self) -> None:
        text = render.table(("A", "B"), [("x\ny", "\x1b[2J\r")])
        self.assertEqual(text.count("\n"), 1)

    def test_a_cut(self) -> None:
        for text, width, wanted in (
            ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 3, ""), ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"), ("x" * 20, 5, "xxxx…"), ("x" * 40, 10, "x" * 9 + "…"),
            ("x" * 10**6, 5, "xxxx…"),
        ):  # fmt: skip
            with self.subTest(text[:9]):
                self.assertEqual(render.cut(text, width), wanted)

    def test_a_long_text_says_how_much_is_missing(self) -> None:
        for text, wanted in (
            ("x" * 30, "x" * 30),
            ("x" * 131, "x" * 12 + "… (119 bytes more)"),
            ("x" * 131_000, "x" * 8 + "… (130,992 bytes more)"),
            ("日" * 40, "日" * 6 + "… (102 bytes more)"),
            ("\x1b" * 31, "\\x1b" * 3 + "… (28 bytes more)"),
        ):
            with self.subTest(text[:3], length=len(text)):
                self.assertEqual(render.beginning(text, 30), wanted)

    def test_wide_and_combining_characters(self) -> None:
        for text, wanted in (
            ("abc", 3), ("日本", 4), ("😀", 2), ("e\u0301", 1), ("ｶﾅ", 2), ("❤\ufe0f", 1),
            ("\u1112\u1161\u11ab\u1100\u1173\u11af", 4), ("한글", 4), ("ไทย", 3),
        ):  # fmt: skip
            with self.subTest(text):
                self.assertEqual(render.cell_width(text), wanted)


class WordsTest(unittest.TestCase):
    def test_lengths(self) -> None:
        for seconds, wanted in (
            (None, "-"), (0, "0.0s"), (0.34, "0.3s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"),
            (60, "1m"), (185, "3m05s"), (3_600, "1h"), (7_800, "2h10m"), (86_400, "1d"),
            (4 * 86_400 + 3 * 3_600, "4d03h"),
        ):  # fmt: skip
            with self.subTest(seconds):
                self.assertEqual(render.length(seconds), wanted)

    def test_moments(self) -> None:
        self.assertEqual(render.moment(NOW + 20_000, NOW), "in 20s")
        self.assertEqual(render.moment(NOW - 180_000, NOW), "3m ago")
        self.assertEqual(render.moment(None, NOW), "-")

    def test_stamps(self) -> None:
        for instant, wanted in (
            (None, None), (0, "1970-01-01T00:00:00.000Z"), (NOW, "2027-01-15T08:00:00.000Z"),
            (NOW + 7, "2027-01-15T08:00:00.007Z"),
        ):  # fmt: skip
            self.assertEqual(render.stamp(instant), wanted)

    def test_ends(self) -> None:
        for end, wanted in (
            ((0, None, None), "exit 0"), ((3, None, "why"), "exit 3, why"),
            ((None, 9, None), "signal 9 (SIGKILL)"), ((None, 63, None), "signal 63"),
            ((None, None, "worker lost"), "worker lost"), ((None, None, None), "-"),
        ):  # fmt: skip
            with self.subTest(wanted):
                self.assertEqual(render.status_text(*end), wanted)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class ColourTest(unittest.TestCase):
    """`--color`, then NO_COLOR, FORCE_COLOR, TERM=dumb, then whether it is a terminal."""

    def test_precedence(self) -> None:
        for flag, env, terminal, wanted in (
            ("", {}, True, True), ("", {}, False, False), ("auto", {}, True, True),
            ("always", {}, False, True), ("always", {"NO_COLOR": "1"}, False, True),
            ("never", {"FORCE_COLOR": "1"}, True, False),
            ("", {"NO_COLOR": "1"}, True, False), ("", {"NO_COLOR": ""}, True, True),
            ("", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
            ("", {"FORCE_COLOR": "1"}, False, True), ("", {"TERM": "dumb"}, True, False),
            ("", {"FORCE_COLOR": "1", "TERM": "dumb"}, False, True),
            ("auto", {"NO_COLOR": "1"}, True, False),
        ):  # fmt: skip
            with self.subTest(flag=flag, env=env, terminal=terminal):
                out = Terminal() if terminal else io.StringIO()
                with mock.patch.object(sys, "stdout", out):
                    chosen = config.color(flag, {"TERM": "xterm", **env})
                    painted = render.Talk(color=chosen).paint("dead", "dead")
                self.assertEqual(painted != "dead", wanted)
                if wanted:
                    self.assertEqual(painted, "\x1b[31mdead\x1b[0m")


class StatusColourTest(CallTest):
    def test_the_flag_and_the_variable_reach_the_answer(self) -> None:
        self.assertIn("\x1b[", self.ok("status", "--color", "always").out)
        self.assertIn("\x1b[", self.ok("status", env={"FORCE_COLOR": "1"}).out)
        self.assertNotIn("\x1b[", self.ok("status").out)


class TalkTest(CallTest):
    def test_progress_stays_on_one_line(self) -> None:
        size = os.terminal_size((20, 24))
        with (
            mock.patch("os.get_terminal_size", return_value=size),
            mock.patch.object(sys, "stderr", Terminal()) as said,
        ):
            render.Talk().progress("waiting for 1000 workers")
            render.Talk().progress("")
            render.Talk(quiet=True).progress("nothing")
        self.assertEqual(said.getvalue(), "\r\x1b[Kwaiting for 1000 w…\r\x1b[K")

    def test_quiet_means_neither_warnings_nor_tips_but_errors(self) -> None:
        said = self.ok("enqueue", "true")
        self.assertEqual(said.err, "queuectl: no worker serves the queue default\n")
        self.assertIn("Start one", self.ok("enqueue", "-v", "true").err)
        self.assertEqual(self.ok("enqueue", "-q", "true").err, "")
        self.assertEqual(self.call("-q", "show", "nosuch").err.count("\n"), 1)

    def test_the_id_alone_is_the_answer(self) -> None:
        self.assertEqual(self.ok("enqueue", "true").out, "1\n")
        self.assertEqual(self.ok("enqueue", "true", "-v").out, "2\n")

    def test_global_flags_before_and_after(self) -> None:
        self.enqueue("true")
        for words in (("--json", "list"), ("list", "--json"), ("-q", "list", "--json")):
            self.assertTrue(self.ok(*words).out.startswith("[{"))
        for words in (("-q", "list"), ("list", "-q"), ("list", "--quiet")):
            self.assertEqual(self.ok(*words).out, "1\n")

    def test_after_two_dashes_nothing_is_a_flag_of_ours(self) -> None:
        job_id = self.enqueue("--", "echo", "--json", "-q", "--", "--db", "x")
        with self.store() as store:
            self.assertEqual(store.job(job_id).command, "echo --json -q -- --db x")


if __name__ == "__main__":
    unittest.main()
