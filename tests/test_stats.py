"""`queuectl stats`: its figures are those that follow from what the jobs themselves wrote."""

from __future__ import annotations

import json
import random
import re
import unittest
from datetime import datetime
from math import ceil

from queuectl.figures import add_up, percentile
from queuectl.lifecycle import Kind
from tests.store import NOW, StoreTest
from tests.support import QueueTest
from tests.test_list import on_terminal


def nearest_rank(values: list[float], percent: int) -> float:
    """Say it the long way: the least value that enough of them do not exceed."""
    return min(
        v for v in values if sum(w <= v for w in values) >= ceil(percent * len(values) / 100)
    )


class PercentileTest(unittest.TestCase):
    def test_nearest_rank(self) -> None:
        rng = random.Random(1)
        for size in range(1, 60):
            values = sorted(rng.randrange(20) / 4 for _ in range(size))
            for percent in (50, 95):
                self.assertEqual(percentile(values, percent), nearest_rank(values, percent))
        self.assertIsNone(percentile([], 50))


class StatsTest(QueueTest):
    def test_the_figures_follow_from_the_ledger_of_the_jobs(self) -> None:
        rng = random.Random(5)
        lines = []
        for number in range(40):
            queue, status = rng.choice("ab"), rng.choice([0, 0, 0, 1])
            command = f"exec sh step-{number % 3}"
            job = {"command": command, "id": f"j{number}", "queue": queue, "max_retries": 0}
            env = {"N": f"j{number}", "Q": queue, "S": str(status)}
            env["T"] = f"0.0{rng.randrange(1, 9)}"
            lines.append(json.dumps({**job, "env": env}))
        for step in range(3):
            (self.box.dir / f"step-{step}").write_text(
                "began=$(date +%s.%N); sleep $T\n"
                f'echo "$N $Q step-{step} $S $began $(date +%s.%N)" >> ledger; exit $S\n'
            )
        self.box.ok("enqueue", "--file", "-", stdin="\n".join(lines).encode())
        self.box.ok("cancel", self.box.enqueue("true", "--queue", "a", "--hold"))
        self.box.ok("worker", "start", "--count", "2")
        self.box.run("wait", "--timeout", "60s")
        ledger = [line.split() for line in self.box.ledger()]
        self.assertEqual(len(ledger), 40)
        stats = self.box.ok("stats", "--json").json
        assert isinstance(stats, dict)
        groups = {("queue", g["queue"]): g for g in stats["queues"]}
        groups |= {("command", g["command"].rpartition(" ")[2]): g for g in stats["commands"]}
        groups["total", ""] = stats["total"]
        for (kind, name), told in groups.items():
            column = {"queue": 1, "command": 2, "total": None}[kind]
            mine = [entry for entry in ledger if column is None or entry[column] == name]
            with self.subTest(kind, name=name):
                self.assert_figures(told, mine)
        self.assertEqual(stats["total"]["cancelled"], 1)
        self.assertEqual(sum(g["jobs"] for g in stats["commands"]), 41)

    def assert_figures(self, told: dict[str, float], ledger: list[list[str]]) -> None:
        """Compare with what the ledger says; a start and an end take the shell a moment."""
        dead = sum(entry[3] != "0" for entry in ledger)
        self.assertEqual((told["dead"], told["completed"]), (dead, len(ledger) - dead))
        if not ledger:
            return
        self.assertEqual(told["runs"], len(ledger))
        self.assertAlmostEqual(told["failure_rate"], dead / len(ledger))
        lengths = [float(entry[5]) - float(entry[4]) for entry in ledger]
        enqueued = self.enqueued_at()
        waits = [float(entry[4]) - enqueued[entry[0]] for entry in ledger]
        for percent in (50, 95):
            # The shell's own start and end come on top of what the job saw itself.
            self.assertGreaterEqual(
                told[f"run_p{percent}_s"], nearest_rank(lengths, percent) - 0.01
            )
            self.assertLess(told[f"run_p{percent}_s"], nearest_rank(lengths, percent) + 5)
            self.assertLessEqual(told[f"wait_p{percent}_s"], nearest_rank(waits, percent) + 0.01)
            self.assertGreater(told[f"wait_p{percent}_s"], nearest_rank(waits, percent) - 5)

    def enqueued_at(self) -> dict[str, float]:
        jobs = self.box.ok("list", "--json").json
        assert isinstance(jobs, list)
        return {job["id"]: datetime.fromisoformat(job["created_at"]).timestamp() for job in jobs}

    def test_nothing_has_ended(self) -> None:
        self.box.enqueue("true")
        stats = self.box.ok("stats", "--json").json
        assert isinstance(stats, dict)
        self.assertEqual((stats["queues"], stats["commands"], stats["since"]), ([], [], None))
        self.assertEqual(stats["total"]["jobs"], 0)
        self.assertIsNone(stats["total"]["failure_rate"])
        self.assertIn("all", self.box.ok("stats").out)
        self.assertEqual(self.box.run("stats", "--since", "x").code, 2)

    def test_figures_keep_their_name_and_are_not_cut(self) -> None:
        self.box.enqueue("true # a long command", "--queue", "a-queue")
        self.box.ok("worker", "run", "--burst")
        for columns, least in ((200, 11), (80, 10), (40, 4), (20, 3)):
            told = on_terminal(self.box, columns, "stats", "--color", "never").splitlines()
            with self.subTest(columns):
                self.assertLessEqual(max(map(len, told)), columns)
                heads = re.split("  +", told[0])
                self.assertGreaterEqual(len(heads), least)
                self.assertEqual(heads[-1], "QUEUE")
                self.assertIn("a-queue", told[2])
                self.assertIn("true", told[5])
                self.assertNotIn("…", "".join(told[:4]))

    def test_the_table_escapes_commands(self) -> None:
        job = self.box.enqueue("true \x1b[31m", "--id", "x")
        self.box.ok("worker", "run", "--burst")
        self.box.wait_state(job, "completed")
        told = self.box.ok("stats").out
        self.assertIn("true \\x1b[31m", told)
        self.assertNotIn("\x1b", told)
        self.assertIn("0.0%", told)


class ExactStatsTest(StoreTest):
    """The same with a clock of our own: to the millisecond."""

    def test_waits_and_lengths_of_the_last_run_since_an_instant(self) -> None:
        rng = random.Random(9)
        waits, lengths = [], []
        for number in range(30):
            now = NOW + number * 1000
            self.add(now, command=f"c{number % 2}", max_retries=0)
            wait_ms, took_s = rng.randrange(900), rng.randrange(100) / 10
            job = self.claim(now=now + wait_ms)
            self.finish(job, Kind.SUCCEEDED, now + 999, exit_code=0, duration_s=took_s)
            waits.append(wait_ms / 1000)
            lengths.append(took_s)
        for since, first in ((None, 0), (NOW + 10_999, 10), (NOW + 11_000, 11), (NOW + 99_999, 30)):
            total = add_up(self.store.ended_since(since)).total.as_json()
            with self.subTest(since):
                self.assertEqual(total["jobs"], 30 - first)
                for percent in (50, 95):
                    rest = waits[first:], lengths[first:]
                    wanted = [nearest_rank(v, percent) if v else None for v in rest]
                    found = [total[f"wait_p{percent}_s"], total[f"run_p{percent}_s"]]
                    self.assertEqual(found, wanted)


if __name__ == "__main__":
    unittest.main()
