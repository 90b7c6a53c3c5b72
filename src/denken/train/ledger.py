"""What a run has cost: seconds, tokens, floating-point operations, energy, money. Numbers only; the loop says when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from denken.config import CostSection


@dataclass(slots=True)
class Ledger:
    """Running totals, kept in the checkpoint and written to ledger.json.

    tokens: positions that are not padding. targets: those with a loss. flops: learning's, see `Price.flops`.
    core_seconds: seconds times the cores in use; gpu_seconds: those of a GPU, the cores around it included.
    sampled: ids that the run generated to learn from. sampling_flops: what that took, see `Price.sampling_flops`.
    generate_seconds, learn_seconds: the two large parts of `seconds`, where a run samples.
    paid_usd: what a teacher elsewhere was paid for answers.
    joules: what the processors drew meanwhile, other programs' share included; 0 where it cannot be read.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    tokens: int = 0
    targets: int = 0
    flops: float = 0.0
    sampled: int = 0
    sampling_flops: float = 0.0
    generate_seconds: float = 0.0
    learn_seconds: float = 0.0
    joules: float = 0.0
    paid_usd: float = 0.0

    def tick(self, seconds: float, cores: int, gpus: int = 0) -> None:
        """Add a stretch of time on so many cores, or on GPUs, and the energy since this was last called."""
        self.seconds += seconds
        self.core_seconds += seconds * cores
        self.gpu_seconds += seconds * gpus
        self.joules += ENERGY.since()

    @classmethod
    def spent(cls, folder: Path) -> Ledger:
        """What a run has cost before its first step: the sampling of its own set, or nothing."""
        try:
            values = json.loads((folder / "data" / "sampling.json").read_text(encoding="utf-8"))
            return cls(**values)
        except (OSError, ValueError, TypeError):
            return cls()

    def usd(self, cost: CostSection) -> float:
        machine = self.core_seconds * cost.usd_per_core_hour + self.gpu_seconds * cost.usd_per_gpu_hour
        return machine / 3600 + self.paid_usd

    def priced(self, cost: CostSection) -> str:
        """What it has cost and at which prices, for people."""
        prices = [f"{cost.usd_per_core_hour} USD per core-hour"] if self.core_seconds or not self.gpu_seconds else []
        if self.gpu_seconds:
            prices.append(f"{cost.usd_per_gpu_hour} USD per GPU-hour")
        return f"{self.usd(cost):.4f} USD at {' and '.join(prices)}"

    def write(self, path: Path, cost: CostSection) -> None:
        """Replace ledger.json in one go."""
        record = asdict(self) | cost.model_dump() | {"usd": self.usd(cost)}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)


class Energy:
    """The counters that Linux keeps of what each processor package has drawn (RAPL); readable by root on most systems.

    folder: where the counters lie. A counter begins again at 0 when it is full.
    """

    def __init__(self, folder: Path = Path("/sys/class/powercap")) -> None:
        packages = sorted(folder.glob("intel-rapl:[0-9]*"))
        self._counters = [path for path in packages if path.name.count(":") == 1]
        self._before = self._read()

    def since(self) -> float:
        """Joules since the last call, or since the beginning; 0.0 where nothing can be read."""
        before, self._before = self._before, self._read()
        drawn = 0
        for path, now in self._before.items():
            if path in before:
                difference = now - before[path]
                drawn += difference if difference >= 0 else difference + (_whole(path / "max_energy_range_uj") or 0)
        return max(0, drawn) / 1e6

    def _read(self) -> dict[Path, int]:
        values = {path: _whole(path / "energy_uj") for path in self._counters}
        return {path: value for path, value in values.items() if value is not None}


def _whole(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


ENERGY = Energy()


@dataclass(frozen=True, slots=True)
class Price:
    """What one position costs to learn from, in floating-point operations.

    body: parameters that every position passes (experts count by the share that is active; embeddings are looked up,
        not multiplied). head: parameters of the output head, passed by positions with a target alone.
    attention: operations per position and position attended to, over all layers, forwards.
    """

    body: float
    head: float
    attention: float

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, Tensor]], config: Mapping[str, Any]) -> Price:
        """From a network's parameters and its Hugging Face configuration."""
        body = embedding = head = 0.0
        experts = config.get("n_routed_experts") or config.get("num_experts") or 1
        active = (config.get("num_experts_per_tok") or experts) / experts
        for name, parameter in parameters:
            if "embed" in name:
                embedding += parameter.numel()
            elif "lm_head" in name:
                head += parameter.numel()
            else:
                body += parameter.numel() * (active if ".experts." in name else 1.0)
        heads = config.get("num_attention_heads", 1)
        size = config.get("head_dim") or config.get("hidden_size", 0) / heads
        query = config.get("qk_nope_head_dim", 0) + config.get("qk_rope_head_dim", 0) or size
        value = config.get("v_head_dim") or size
        return cls(body, head or embedding, 2.0 * config.get("num_hidden_layers", 0) * heads * (query + value))

    def flops(self, tokens: int, targets: int, context: int) -> float:
        """Forwards and backwards (twice the forward's): 6 per parameter and position, plus attention.

        context: the sum over positions of how many positions each attends to.
        """
        return 6 * (self.body * tokens + self.head * targets) + 3 * self.attention * context

    def sampling_flops(self, tokens: int, targets: int, context: int) -> float:
        """Forwards alone: 2 per parameter and position, plus attention. Arguments as for `flops`."""
        return self.flops(tokens, targets, context) / 3
