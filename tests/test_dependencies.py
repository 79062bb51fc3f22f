"""Dependencies: what a job waits for, and what follows when a parent ends well or badly."""

from __future__ import annotations

import json
import random
import unittest

from queuectl.errors import NotFound, UsageError
from queuectl.lifecycle import Kind
from tests.store import ClockTest
from tests.support import QueueTest

Graph = dict[str, tuple[bool, list[str], list[str]]]  # id -> fails, needs completed, needs finished


def random_graph(rng: random.Random, size: int) -> Graph:
    """Make jobs that wait for earlier ones and fail now and then."""
    graph: Graph = {}
    for number in range(size):
        earlier = list(graph)
        after = rng.sample(earlier, min(len(earlier), rng.randrange(3)))
        finished = rng.sample(earlier, min(len(earlier), rng.randrange(2)))
        graph[f"j{number}"] = (rng.random() < 0.2, after, finished)
    return graph


def expected(graph: Graph) -> dict[str, str]:
    """Say how each job ends: the model."""
    ends: dict[str, str] = {}
    for name, (fails, after, _) in graph.items():
        if any(ends[parent] != "completed" for parent in after):
            ends[name] = "cancelled"
        else:
            ends[name] = "dead" if fails else "completed"
    return ends


class ModelTest(ClockTest):
    def test_200_random_graphs_end_as_the_model_says(self) -> None:
        for seed in range(200):
            rng = random.Random(seed)
            graph = random_graph(rng, rng.randrange(2, 25))
            prefix = f"g{seed}-"
            self.insert_graph(graph, prefix)
            order = self.drain({prefix + name: fails for name, (fails, _, _) in graph.items()})
            ends = {name: self.queue.job(prefix + name).state for name in graph}
            self.assertEqual(ends, expected(graph), f"seed {seed}")
            self.assert_order(graph, prefix, order)

    def insert_graph(self, graph: Graph, prefix: str) -> None:
        for name, (_, after, finished) in graph.items():
            self.queue.enqueue(
                "true",
                id=prefix + name,
                max_retries=0,
                after=[prefix + parent for parent in after] or None,
                after_finished=[prefix + parent for parent in finished] or None,
            )

    def drain(self, fails: dict[str, bool]) -> list[str]:
        """Claim and finish until nothing is left; give the order of the claims."""
        order = []
        while job := self.claim():
            order.append(job.id)
            failed = fails[job.id]
            self.finish(job, Kind.FAILED if failed else Kind.SUCCEEDED, exit_code=int(failed))
        return order

    def assert_order(self, graph: Graph, prefix: str, order: list[str]) -> None:
        place = {name: number for number, name in enumerate(order)}
        for name, (_, after, finished) in graph.items():
            for parent in [*after, *finished]:
                if prefix + name in place and prefix + parent in place:
                    self.assertLess(place[prefix + parent], place[prefix + name])


class DependencyTest(ClockTest):
    def test_a_chain_of_ten_thousand_falls_in_one_go(self) -> None:
        first = self.queue.enqueue("false", id="c0", max_retries=0)
        rows = [
            {"command": "true", "id": f"c{n}", "after": [f"c{n - 1}"]} for n in range(1, 10_001)
        ]
        self.queue.insert(rows)
        self.queue.cancel(first)
        self.assertEqual(self.queue.counts()["cancelled"], 10_001)

    def test_parents_that_have_ended_already(self) -> None:
        good, bad = self.queue.enqueue("true"), self.queue.enqueue("true")
        self.finish(self.claim(), Kind.SUCCEEDED)
        self.queue.cancel(bad)
        self.assertEqual(self.queue.job(self.queue.enqueue("x", after=good)).state, "pending")
        self.assertEqual(self.queue.job(self.queue.enqueue("x", after=good)).ready, 1)
        fallen = self.queue.job(self.queue.enqueue("x", after=[good, bad]))
        self.assertEqual(fallen.state, "cancelled")
        self.assertIn(f"job {bad}", fallen.error or "")
        self.assertEqual(self.queue.job(self.queue.enqueue("x", after_finished=bad)).ready, 1)

    def test_a_parent_named_twice_is_waited_for_once(self) -> None:
        parent = self.queue.enqueue("true")
        child = self.queue.enqueue("true", after=[parent, parent], after_finished=[parent])
        self.assertEqual(self.queue.job(child).waits, 1)
        job = self.claim()
        self.finish(job, Kind.SUCCEEDED)
        self.assertEqual(self.queue.job(child).ready, 1)

    def test_unknown_parents_and_itself_store_nothing(self) -> None:
        for after, error in (("99", NotFound), ("nobody", NotFound), ("me", UsageError)):
            with self.assertRaises(error):
                self.queue.enqueue("true", id="me", after=after)
        self.assertEqual(sum(self.queue.counts().values()), 0)

    def test_a_cancelled_child_lets_go_of_its_other_parents(self) -> None:
        one, other = self.queue.enqueue("true"), self.queue.enqueue("true")
        child = self.queue.enqueue("true", after=[one, other])
        self.queue.cancel(one)
        self.assertEqual(self.queue.job(child).state, "cancelled")
        self.queue.cancel(other)
        self.assertEqual(self.queue.job(child).state, "cancelled")

    def test_a_held_child_stays_held_when_its_parent_ends(self) -> None:
        parent = self.queue.enqueue("true")
        child = self.queue.enqueue("true", after=parent, hold=True)
        job = self.claim()
        self.finish(job, Kind.SUCCEEDED)
        self.assertEqual((self.queue.job(child).ready, self.queue.job(child).waits), (0, 0))
        self.queue.release(child)
        self.assertEqual(self.queue.job(child).ready, 1)


class RealDependencyTest(QueueTest):
    def test_a_diamond_of_a_thousand_jobs_with_failures(self) -> None:
        rng = random.Random(7)
        graph: Graph = {"top": (False, [], [])}
        for number in range(998):
            graph[f"m{number}"] = (rng.random() < 0.05, ["top"], [])
        graph["bottom"] = (False, [], [name for name in graph if name != "top"])
        lines = [
            json.dumps(
                {
                    "command": f"echo {name} >> ledger; exit {int(fails)}",
                    "id": name,
                    "max_retries": 0,
                    **({"after": after} if after else {}),
                    **({"after_finished": finished} if finished else {}),
                }
            )
            for name, (fails, after, finished) in graph.items()
        ]
        self.box.ok("enqueue", "--file", "-", stdin="\n".join(lines).encode())
        self.box.ok("worker", "start", "--count", "2")
        self.assertEqual(self.box.run("wait", "--timeout", "120s").code, 4)
        jobs = self.box.ok("list", "--all", "--json").json
        ends = {job["id"]: job["state"] for job in jobs}  # type: ignore[index, union-attr]
        self.assertEqual(ends, expected(graph))
        ledger = self.box.ledger()
        self.assertEqual(sorted(ledger), sorted(graph))
        self.assertEqual((ledger[0], ledger[-1]), ("top", "bottom"))

    def test_a_retried_parent_explains_what_stays_cancelled(self) -> None:
        self.box.enqueue("exit 1", "--id", "parent", "--max-retries", "0")
        self.box.enqueue("true", "--id", "child", "--after", "parent")
        self.box.ok("worker", "start")
        self.box.wait_state("parent", "dead")
        retried = self.box.ok("dlq", "retry", "parent")
        self.assertIn("child", retried.err)
        self.assertIn("rerun", retried.err)


if __name__ == "__main__":
    unittest.main()
