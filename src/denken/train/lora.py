"""Low-rank adapters: of every linear layer a small change is learnt, W + (alpha / rank) * B A, and nothing else moves.

Source: Hu et al. 2021, "LoRA" (arXiv 2106.09685), section 4.1; A is random and B zero at the beginning, so that the
network begins as it was. Departs from it:

1. The network always holds the merged weights. Gradients of a merged weight G become those of the adapters by the chain
   rule, dB = s G A^T and dA = s B^T G, as soon as they are made, and are let go. So the engine, the trainer and the
   exported model compute with the very same weights, and nothing in the network knows of adapters. It costs one product
   a layer more than adapters beside the weights, and a second copy of the weights in the network's type.
2. No dropout.

Embeddings, norms, biases, head and a router of experts stay as they are. Adapters are saved in PEFT's file format too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from denken.config import LoraSection, OptimSection
from denken.errors import CheckpointError
from denken.model import adapters
from denken.model.adapters import A, B
from denken.shelf.shelf import PULLED
from denken.train.folder import BUNDLED, model_folder
from denken.train.optim import Optimizer

# R = rows of a weight (features out), C = columns (features in), K = rank of an adapter


class LoraOptimizer(Optimizer):
    """An `Optimizer` whose masters are adapters; `model` holds what they amount to."""

    def __init__(
        self,
        model: nn.Module,
        optim: OptimSection,
        *,
        lora: LoraSection,
        seed: int,
        base: str | None = None,
        dtype: torch.dtype = torch.float32,
        stats: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`model` comes in fp32 with the weights to start from; its parameters are turned into `dtype` here.

        seed: of the adapters' first values, the same in every process. base: what these weights are called.
        """
        self.lora, self.base_name = lora, base
        self.scale = lora.alpha / lora.rank
        self._seed = seed
        self.adapted = {name: module for name, module in model.named_modules() if is_adapted(name, module)}
        super().__init__(model, optim, dtype=dtype, stats=stats, rank=rank, world=world)

    def _masters(self, dtype: torch.dtype) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(self._seed)
        masters: dict[str, Tensor] = {}
        for name, module in self.adapted.items():
            rows, columns = module.weight.shape
            bound = 1.0 / math.sqrt(columns)
            masters[name + A] = torch.empty(self.lora.rank, columns).uniform_(-bound, bound, generator=draw)
            masters[name + B] = torch.zeros(rows, self.lora.rank)
        return masters

    def _lend(self, dtype: torch.dtype) -> None:
        self.shadowed = True
        adapted = {id(module.weight) for module in self.adapted.values()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in adapted)
            if id(parameter) not in adapted:
                parameter.data = parameter.data.to(dtype)
        # Weights that came as bf16 are kept as bf16: nothing is lost, and half the memory.
        self.base: dict[str, Tensor] = {}
        for name, module in self.adapted.items():
            whole = module.weight.detach()
            short = whole.to(dtype)
            self.base[name] = short.clone() if torch.equal(short.float(), whole) else whole.clone()
            module.weight.data = short
            module.weight.register_post_accumulate_grad_hook(self._passer_on(name))

    def _passer_on(self, name: str) -> Callable[[Tensor], None]:
        """What a merged weight's gradient does as soon as it is there: it becomes the adapters', and goes."""

        @torch.no_grad()
        def pass_on(weight: Tensor) -> None:
            assert weight.grad is not None
            gradient_RC = weight.grad.float()
            weight.grad = None
            a_KC, b_RK = self.masters[name + A], self.masters[name + B]
            self.gradients[name + A].addmm_(b_RK.mT, gradient_RC, alpha=self.scale)
            self.gradients[name + B].addmm_(gradient_RC, a_KC.mT, alpha=self.scale)

        return pass_on

    @property
    def size(self) -> int:
        return sum(master.numel() for master in self.masters.values())

    def collect(self) -> None:
        """Nothing is left to collect: see `_passer_on`."""

    @torch.no_grad()
    def publish(self) -> None:
        """Merge the adapters into the network's weights."""
        for name, module in self.adapted.items():
            change_RC = self.masters[name + B] @ self.masters[name + A]
            module.weight.copy_(torch.add(self.base[name].float(), change_RC, alpha=self.scale))

    def leave(self, folder: Path) -> None:
        pairs = {name: (self.masters[name + A], self.masters[name + B]) for name in self.adapted}
        rank, alpha = self.lora.rank, self.lora.alpha
        adapters.write(folder / "adapter", pairs, rank=rank, alpha=alpha, base=self.base_name)


def is_adapted(name: str, module: nn.Module) -> bool:
    """Whether a module has an adapter: the linear layers, but for the head, which speaks of tokens."""
    return isinstance(module, nn.Linear) and name != "lm_head"


def holds_adapters(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint's weights are adapters, which mean nothing without the weights beneath."""
    return any(name.endswith(A) for name in tensors)


def base_name(start: Path | None) -> str | None:
    """What the weights that a run starts from are called, as an adapter names its base; None where nobody could load
    them by a name.

    "bundled" for the model in the box, ORG/NAME for one that was fetched, else its folder.
    """
    if start is None or (start / "manifest.json").is_file():
        return None
    if start == BUNDLED:
        return "bundled"
    try:
        folder = model_folder(start).absolute()
    except CheckpointError:
        return None
    return "/".join(folder.parts[-2:]) if (folder / PULLED).is_file() else str(folder)
