"""Random scripts, and what their results must be, whatever befell the cluster meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .scripted import Step

MAX_DEPTH = 2

STEPS = {
    "act": 4.0, "local": 1, "side": 1, "sleep": 1, "patch": 1, "random": 1, "attribute": 1, "peer": 1,
    "par": 2, "limit": 1, "child": 2,
}  # fmt: skip
"""Kinds of steps, and how often each is drawn."""

ALL_STEPS = {**STEPS, "stop": 1, "unpatch": 0.4, "outside": 0.6, "clash": 0.4, "forget": 0.4, "trip": 0.4}
"""With those that the seeds of former days do not know."""

NESTED = ("par", "limit", "child")

ACTIVITIES = {"quick": 6.0, "plain": 3, "slow": 3, "stuck": 1, "beating": 1, "hopeless": 1, "once": 1}
"""Kinds of activities, and how often each is drawn."""

ALL_ACTIVITIES = {**ACTIVITIES, "handed": 1}
"""With those that the seeds of former days do not know."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What scripts are made of: weights of steps, of those inside others (as all, if not given), and of activities; how
    often activities fail; how many steps there are; how often runs continue as new (so many times), and wait for some
    of their messages on the way (0 to 1); how long they sleep at most, and what takes too long (s); how many steps go
    on side by side."""

    steps: Mapping[str, float] = field(default_factory=lambda: STEPS)
    inner: Mapping[str, float] = field(default_factory=dict)
    activities: Mapping[str, float] = field(default_factory=lambda: ACTIVITIES)
    failures: tuple[int, ...] = (0, 0, 0, 1, 2)
    length: tuple[int, int] = (1, 6)
    again: float = 0.4
    agains: int = 1
    wait: float = 0.2
    sleeps: tuple[float, ...] = (0.05, 1.0, 8.0)
    children: tuple[str, ...] = ("result", "result", "poke", "cancel", "abandon")
    limits: tuple[float, float] = (0.05, 4.0)
    width: tuple[int, int] = (2, 4)


class Writer:
    """Writes the script of one workflow. `others`: IDs of workflows that it may send messages to."""

    def __init__(self, rng: Random, workflow_id: str, others: list[str], mix: Mix) -> None:
        self.rng = rng
        self.workflow_id = workflow_id
        self.others = others
        self.mix = mix
        self._count = 0

    def script(self, messages: int) -> list[Step]:
        """`messages`: how many it gets from its client; it waits for all of them in the end."""
        steps = [self._step(0) for _ in range(self.rng.randint(*self.mix.length))]
        for _ in range(self.mix.agains):
            if self.rng.random() < self.mix.again:
                steps.insert(self.rng.randint(0, len(steps)), ["again"])
        if self.rng.random() < self.mix.wait and messages > 1:
            steps.insert(self.rng.randint(0, len(steps)), ["wait", self.rng.randint(1, messages - 1)])
        return [*steps, ["wait", messages]]

    def _token(self) -> str:
        self._count += 1
        return f"{self.workflow_id}#{self._count}"

    def _step(self, depth: int) -> Step:
        steps = self.mix.inner if depth and self.mix.inner else self.mix.steps
        kinds = [kind for kind in steps if depth < MAX_DEPTH or kind not in NESTED]
        kind = self.rng.choices(kinds, [steps[k] for k in kinds])[0]
        make: Any = getattr(self, f"_{kind}")
        step: Step = make(depth)
        return step

    def _act(self, depth: int) -> Step:
        kind = self.rng.choices(list(self.mix.activities), list(self.mix.activities.values()))[0]
        failures = 1 if kind in ("stuck", "beating") else self.rng.choice(self.mix.failures)
        return ["act", kind, self._token(), failures]

    def _local(self, depth: int) -> Step:
        return ["local", self._token(), self.rng.choice((0, 0, 0, 1))]

    def _side(self, depth: int) -> Step:
        return ["side", self._token()]

    def _sleep(self, depth: int) -> Step:
        return ["sleep", round(self.rng.choice(self.mix.sleeps) * self.rng.random(), 3)]

    def _par(self, depth: int) -> Step:
        return ["par", [self._step(depth + 1) for _ in range(self.rng.randint(*self.mix.width))]]

    def _limit(self, depth: int) -> Step:
        return ["limit", round(self.rng.uniform(*self.mix.limits), 3), self._step(depth + 1)]

    def _child(self, depth: int) -> Step:
        self._count += 1
        writer = Writer(self.rng, f"{self.workflow_id}-{self._count}", self.others, self.mix)
        mode = self.rng.choice(self.mix.children)
        script = [writer._step(depth + 1) for _ in range(self.rng.randint(0, 3))]
        if mode == "poke":
            script.append(["wait", 2])
        if mode == "fail":
            script.append(["fail", self._token()])
        return ["child", writer.workflow_id, script, mode]

    def _peer(self, depth: int) -> Step:
        return ["peer", self.rng.choice(self.others), self._token()]

    def _nowhere(self, depth: int) -> Step:
        return ["nowhere", self._token()]

    def _patch(self, depth: int) -> Step:
        return ["patch", self.rng.choice("abc")]

    def _random(self, depth: int) -> Step:
        return ["random"]

    def _attribute(self, depth: int) -> Step:
        return ["attribute", self._token()]


    def _stop(self, depth: int) -> Step:
        kind = self.rng.choice(("quick", "slow", "beating"))
        return ["stop", kind, self._token(), self.rng.choice((0.0, 0.2, 1.5)), self.rng.choice(("try", "wait"))]

    def _unpatch(self, depth: int) -> Step:
        return ["unpatch", self.rng.choice("def")]

    def _outside(self, depth: int) -> Step:
        self._count += 1
        return ["outside", f"{self.workflow_id}-{self._count}"]

    def _clash(self, depth: int) -> Step:
        self._count += 1
        return ["clash", f"{self.workflow_id}-{self._count}"]

    def _forget(self, depth: int) -> Step:
        return ["forget", self._token()]

    def _trip(self, depth: int) -> Step:
        return ["trip", round(self.rng.uniform(1.0, 20.0), 3)]


def misfit(step: Step, result: Any) -> str:
    """What is wrong about the result of a step; "" if nothing is."""
    check: Any = globals()[f"_misfit_{step[0]}"]
    found: str = check(result, *step[1:])
    return found


def _differs(result: Any, *allowed: Any) -> str:
    return "" if result in allowed else f"{result!r}, not {' or '.join(map(repr, allowed))}"


def _misfit_act(result: Any, kind: str, token: str, failures: int) -> str:
    if kind == "hopeless":
        return "" if str(result).startswith(f"failed {token}") else f"{result!r}, not a failure"
    if kind == "once" and str(result).startswith(f"failed {token}"):
        return ""  # it may have run, and nobody knows
    return _differs(result, token)


def _misfit_local(result: Any, token: str, failures: int) -> str:
    return _differs(result, token)


def _misfit_side(result: Any, token: str) -> str:
    return _differs(result, token)


def _misfit_sleep(result: Any, seconds: float) -> str:
    return _differs(result, "slept")


def _misfit_par(result: Any, steps: list[Step]) -> str:
    if not isinstance(result, list) or len(result) != len(steps):
        return f"{result!r}, not {len(steps)} results"
    return "; ".join(wrong for step, one in zip(steps, result, strict=True) if (wrong := misfit(step, one)))


def _misfit_limit(result: Any, seconds: float, step: Step) -> str:
    return "" if result == "over" else misfit(step, result)


def _misfit_wait(result: Any, count: int) -> str:
    return _differs(result, "waited")


def _misfit_child(result: Any, child_id: str, script: list[Step], mode: str) -> str:
    if mode == "abandon":
        return _differs(result, "abandoned")
    if mode == "cancel" and result == "no result: ChildWorkflowError":
        return ""
    if mode == "fail":
        return _differs(result, "no result: ChildWorkflowError")
    if not isinstance(result, dict):
        return f"the child {child_id} gave {result!r}"
    if mode == "poke" and result["pokes"] != [f"{child_id}.0", f"{child_id}.1"]:
        return f"the child {child_id} heard {result['pokes']}"
    return misfit_script(script, result["seen"])


def misfit_script(script: list[Step], seen: list[Any]) -> str:
    """What is wrong about the results of all steps of a script that has ended."""
    return _misfit_par(seen, [step for step in script if step[0] != "again"])


def _misfit_peer(result: Any, workflow_id: str, token: str) -> str:
    return _differs(result, "gone", f"sent {token}")


def _misfit_nowhere(result: Any, token: str) -> str:
    return _differs(result, "nowhere")


def _misfit_patch(result: Any, name: str) -> str:
    return _differs(result, "new")


def _misfit_stop(result: Any, kind: str, token: str, after: float, cancellation: str) -> str:
    return _differs(result, token, "stopped")


def _misfit_unpatch(result: Any, name: str) -> str:
    return _differs(result, "new")


def _misfit_outside(result: Any, child_id: str) -> str:
    return _differs(result, "cancelled")


def _misfit_clash(result: Any, child_id: str) -> str:
    return _differs(result, "1 refused")


def _misfit_forget(result: Any, value: str) -> str:
    return _differs(result, value)


def _misfit_trip(result: Any, until: float) -> str:
    return _differs(result, "repaired")


def _misfit_random(result: Any) -> str:
    return "" if len(str(result).split()) == 3 else f"{result!r}"


def _misfit_attribute(result: Any, value: str) -> str:
    return _differs(result, value)


def _misfit_die(result: Any, attempts: int) -> str:
    return _differs(result, f"attempt {attempts + 1}")


def sent_to_peers(script: list[Step], seen: list[Any]) -> dict[str, list[str]]:
    """The messages that the steps say were delivered, by receiver."""
    found: dict[str, list[str]] = {}
    for step, result in zip([s for s in script if s[0] != "again"], seen, strict=True):
        if step[0] == "peer" and result == f"sent {step[2]}":
            found.setdefault(step[1], []).append(step[2])
        elif step[0] in ("par", "child") or (step[0] == "limit" and result != "over"):
            inner, results = {
                "par": lambda s=step, r=result: (s[1], r),
                "limit": lambda s=step, r=result: ([s[2]], [r]),
                "child": lambda s=step, r=result: (s[2], r["seen"]) if isinstance(r, dict) else ([], []),
            }[step[0]]()
            for receiver, tokens in sent_to_peers(inner, results).items():
                found.setdefault(receiver, []).extend(tokens)
    return found
