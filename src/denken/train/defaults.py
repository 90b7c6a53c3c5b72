"""What a person who names only a task and a model would have wanted: learning rates by size, batches, budgets.

Values in, recipes out (as tables, and as the text of a recipe.toml); nothing is measured or trained here. The rules are
those of our own runs for small networks and of published ones for larger: from the rates of a 2.6M-parameter network
(3e-4 for rewards, Muon's 0.01 for worked solutions) they fall with the number of parameters, to about 1e-5 at half a
billion, as in common recipes for fine-tuning. They are meant to be safe, not to be the best.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SMALL = 30_000_000  # parameters below which a network is trained as our own small ones are
BUNDLED_SIZE = 2.6e6
LORA_LR = 10.0  # adapters start at nothing and take larger steps (Hu et al. 2021, arXiv 2106.09685, table 11)
GROUP = 8
# Steps that a stage should have at least, where its batch can be made smaller instead.
ENOUGH_STEPS = 150
ENOUGH_UPDATES = 30


@dataclass(frozen=True, slots=True)
class Setting:
    """The model, and the machine that trains it.

    start: what `init_from` of the first stage is. bf16: whether the processor multiplies in it.
    lora: the rank of adapters; None trains all weights.
    """

    start: str
    parameters: int
    context: int
    cores: int
    bf16: bool
    seed: int = 1
    lora: int | None = None

    @property
    def small(self) -> bool:
        return self.parameters < SMALL

    @property
    def processes(self) -> int:
        """One a core for a small network; a large one is shared by threads instead of being held several times."""
        return min(4, self.cores) if self.small else 1

    def rewards_lr(self) -> float:
        lr = min(3e-4, 3e-4 * (BUNDLED_SIZE / self.parameters) ** 0.6)
        return _round(lr * (LORA_LR if self.lora else 1.0))

    def worked_lr(self) -> float:
        lr = min(5e-4, 2e-5 * (5e8 / self.parameters) ** 0.5)
        return _round(lr * (LORA_LR if self.lora else 1.0))


def worked_recipe(
    setting: Setting,
    source: Mapping[str, Any],
    *,
    longest: int,
    steps: int,
    batch_tokens: int,
    minutes: float | None,
) -> dict[str, Any]:
    """Learning from worked solutions. source: one of `[data]`. longest: the longest document, in ids."""
    widths = [width for width in (128, 256, 512, 1024, 2048, 4096) if width <= setting.context]
    widths = [width for width in widths if width < 2 * longest] or widths[:1]
    muon = setting.small and not setting.lora
    optim = (
        {"name": "muon", "lr": 0.01, "adam_lr": 0.002, "schedule": "wsd", "decay_fraction": 0.6}
        if muon
        else {"name": "adamw", "lr": setting.worked_lr(), "schedule": "linear", "min_lr_fraction": 0.1}
    )
    return {
        "name": "01_worked",
        "seed": setting.seed,
        "data": {"widths": widths[-3:], "sources": [dict(source)]},
        "optim": {**optim, "warmup": min(20, max(1, steps // 10))},
        "train": {
            "steps": steps,
            **_minutes(minutes),
            "batch_tokens": batch_tokens,
            "micro_tokens": max(widths[-1], min(4096 if setting.small else 1024, batch_tokens // setting.processes)),
            **_machine(setting),
            "init_from": setting.start,
            "log_every": 5,
        },
    }


def rewards_recipe(
    setting: Setting,
    task: Mapping[str, Any],
    *,
    start: str,
    steps: int,
    problems: int,
    max_tokens: int,
    dynamic: bool,
    minutes: float | None,
    eval_every: int = 0,
) -> dict[str, Any]:
    """Learning from rewards. task: one of `[rl]`. dynamic: groups that are all right or all wrong are replaced."""
    reference = {"kl": 0.001, "reference_every": 50} if setting.small else {"kl": 0.0}
    return {
        "name": "02_rewards",
        "seed": setting.seed,
        "rl": {
            "algorithm": "grpo",
            "problems": problems,
            "group": GROUP,
            "max_tokens": max_tokens,
            "temperature": 1.0,
            **reference,
            "dynamic_sampling": dynamic,
            "tasks": [dict(task)],
        },
        "reward": {"accuracy": 1.0, "format": 0.1},
        "optim": {
            "name": "adamw",
            "lr": setting.rewards_lr(),
            "warmup": min(5, max(1, steps // 10)),
            "schedule": "linear",
            "min_lr_fraction": 0.3,
        },
        "train": {
            "steps": steps,
            **_minutes(minutes),
            "micro_tokens": 4096 if setting.small else 2048,
            **_machine(setting),
            "init_from": start,
            "log_every": 1,
            "eval_every": eval_every,
        },
    }


def problems_a_step(setting: Setting) -> int:
    """How many problems a step of rewards begins with: fewer, the larger the network."""
    return 16 if setting.small else 8 if setting.parameters < 1_000_000_000 else 4


def batch_tokens_for(tokens_per_second: float, seconds: float, setting: Setting) -> int:
    """The largest usual batch that still gives `ENOUGH_STEPS` in the time."""
    wanted = tokens_per_second * seconds / ENOUGH_STEPS
    least = 512 * setting.processes
    return max(least, max((size for size in (1024, 2048, 4096, 8192) if size <= wanted), default=least))


def problems_for(seconds_a_step: float, problems: int, seconds: float, setting: Setting) -> int:
    """As many problems a step as leave time for `ENOUGH_UPDATES`, at least 2 and one a process."""
    affordable = int(problems * seconds / (ENOUGH_UPDATES * max(1e-9, seconds_a_step)))
    return max(2, setting.processes, min(problems, affordable))


def to_toml(recipe: Mapping[str, Any], remark: str) -> str:
    """A recipe as the text of its file, with a remark on top."""
    lines = [f"# {line}" for line in remark.splitlines()]
    lines += [f"{key} = {_value(value)}" for key, value in recipe.items() if not isinstance(value, Mapping)]
    for key, table in recipe.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _minutes(minutes: float | None) -> dict[str, float]:
    return {} if minutes is None else {"minutes": round(minutes, 3)}


def _machine(setting: Setting) -> dict[str, Any]:
    found: dict[str, Any] = {"dtype": "bf16" if setting.bf16 else "fp32", "processes": setting.processes}
    if setting.processes > 1:
        found["threads"] = max(1, setting.cores // setting.processes)
    if setting.lora:
        found["lora"] = {"rank": setting.lora, "alpha": 2 * setting.lora}
    return found


def _round(lr: float) -> float:
    """Two digits: nobody wants to read more."""
    return float(f"{lr:.1e}")
