"""The plan: everything that will happen, drawn from the seed before anything has happened.

To add a verb, write it in nemesis.py and give it a rate here.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.torture.jobs import KINDS

# What happens how often a second. The nemesis has a function of each name.
RATES = {
    "enqueue": 7.0,
    "enqueue_named": 1.5,
    "enqueue_killed": 2.0,
    "kill_client": 0.25,
    "kill_leader": 1.3,
    "kill_descendant": 0.9,
    "kill_worker": 0.9,
    "kill_supervisor": 0.15,
    "massacre": 0.07,
    "stop_worker": 0.2,
    "stop_supervisor": 0.08,
    "stop_client": 0.15,
    "stop_leader": 0.1,
    "pool_start": 0.4,
    "pool_run": 0.05,
    "pool_scale": 0.05,
    "pool_stop": 0.06,
    "pool_stop_now": 0.05,
    "give_up": 0.02,
    "fill_disk": 0.03,
    "delete_run": 0.04,
    "look": 0.3,
    "cancel": 0.3,
    "retry": 0.3,
    "purge": 0.05,
    "prune": 0.1,
    "hold": 0.15,
    "release": 0.2,
    "edit": 0.1,
    "rerun": 0.1,
    "queue_pause": 0.05,
    "queue_limit": 0.05,
    "schedule_add": 0.1,
    "schedule_run": 0.2,
    "schedule_remove": 0.05,
}


@dataclass(frozen=True)
class Event:
    """Something that is to happen `at` seconds after the start, and the dice it is to use."""

    at: float
    verb: str
    dice: tuple[float, float, float]
    kind: str


def draw(
    seed: int,
    seconds: float,
    *,
    only: Collection[str] = (),
    kinds: Collection[str] = (),
    more: Mapping[str, float] | None = None,
) -> list[Event]:
    """Draw the plan: of all verbs or of those in `only`; `more` replaces rates."""
    dice = random.Random(seed)
    rates = {**RATES, **(more or {})}
    names = [name for name in KINDS if not kinds or name in kinds]
    weights = [KINDS[name].weight for name in names]
    events: list[Event] = []
    for verb in rates:
        at = 0.0
        while rates[verb] > 0 and (at := at + dice.expovariate(rates[verb])) < seconds:
            rolls = (dice.random(), dice.random(), dice.random())
            events.append(Event(at, verb, rolls, dice.choices(names, weights)[0]))
    if only:
        events = [event for event in events if event.verb in only]
    return sorted(events, key=lambda event: event.at)


def digest(events: list[Event]) -> str:
    """Give a short mark of a plan: equal seeds, equal marks."""
    return hashlib.sha256(repr(events).encode()).hexdigest()[:12]
