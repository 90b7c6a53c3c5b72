"""How weights move: Muon for hidden matrices, AdamW for the rest, fp32 masters under a bf16 network, the schedule.

`Optimizer` owns one flat fp32 buffer with every gradient, so that processes average in a single exchange and the norm
is one reduction. What gradients mean (which loss, averaged over what) is left to the loop. Every process holds all of
it; `shard.py` has the variant whose processes hold a share each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from denken.config import OptimSection
from denken.errors import CheckpointError

# G = matrices of one shape, R = rows, C = columns

Exchange = Callable[[Tensor], None]
Model = TypeVar("Model", bound=nn.Module)


def lr_factor(step: int, total: int, optim: OptimSection, *, gone: float = 0.0) -> float:
    """The fraction of the peak learning rate at `step` (from 0) of `total`.

    gone: the share of the run's time that has passed; where it is further than the steps are, the rate falls with it.
    """
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    step = max(step, min(total, math.floor(gone * total)))
    floor = optim.min_lr_fraction
    if optim.schedule == "wsd":
        decay = max(1, round(optim.decay_fraction * total))
        left = min(1.0, (total - step) / decay)
        return floor + (1 - floor) * max(0.0, left)
    done = min(1.0, (step - optim.warmup) / max(1, total - optim.warmup))
    if optim.schedule == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    return floor + (1 - floor) * (1 - done)


def orthogonalise(matrices_GRC: Tensor, *, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Push the singular values of every matrix towards 1 by a quintic Newton-Schulz iteration; shape is kept.

    Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024),
    https://kellerjordan.github.io/posts/muon/, with its coefficients, which stop near 1 (about 0.7 to 1.2) for speed.
    Departs from it: matrices of one shape go through together, in batched products.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x_GRC = matrices_GRC.to(dtype)
    tall = x_GRC.shape[1] > x_GRC.shape[2]
    if tall:
        x_GRC = x_GRC.mT
    x_GRC = (x_GRC / (matrices_GRC.float().norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype).contiguous()
    for _ in range(steps):
        gram_GRR = torch.bmm(x_GRC, x_GRC.mT)
        poly_GRR = torch.baddbmm(gram_GRR, gram_GRR, gram_GRR, beta=b, alpha=c)
        x_GRC = torch.baddbmm(x_GRC, poly_GRR, x_GRC, beta=a)
    return x_GRC.mT if tall else x_GRC


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon may move it: a matrix (or a stack of them) between hidden features.

    Embeddings and head speak of tokens and a router of experts, one row each; AdamW moves those, norms and biases.
    """
    return parameter.ndim >= 2 and not any(part in name for part in ("embed", "lm_head", "mlp.gate.weight"))


class Muon:
    """Momentum, orthogonalised (see `orthogonalise`), with Nesterov's look-ahead and decoupled weight decay.

    An update of a matrix with R rows and C columns is scaled by max(1, R / C) ** 0.5, as in the source's own code.
    Matrices of one shape are orthogonalised together. With several processes (`rank` of `world`) each orthogonalises
    its share and `exchange` (a sum over processes, in place) puts the update together.
    """

    def __init__(
        self, named: Mapping[str, Tensor], *, momentum: float, weight_decay: float, rank: int = 0, world: int = 1
    ) -> None:
        self.named = dict(named)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.rank, self.world = rank, world
        self.buffers = {name: torch.zeros_like(tensor) for name, tensor in self.named.items()}
        self.groups: dict[tuple[int, int], list[str]] = {}
        for name, tensor in self.named.items():
            self.groups.setdefault((tensor.shape[-2], tensor.shape[-1]), []).append(name)
        device = next((tensor.device for tensor in self.named.values()), None)
        self._update = torch.empty(sum(tensor.numel() for tensor in self.named.values()), device=device)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], lr: float, exchange: Exchange | None = None) -> None:
        names = list(self.named)
        buffers = [self.buffers[name] for name in names]
        grads = [gradients[name] for name in names]
        torch._foreach_lerp_(buffers, grads, 1 - self.momentum)
        looked_ahead = dict(zip(names, torch._foreach_lerp(grads, buffers, self.momentum), strict=True))
        updates = self.orthogonalised(looked_ahead, exchange)
        for (rows, columns), members in self.groups.items():
            scale = max(1.0, rows / columns) ** 0.5
            for name in members:
                self.named[name].mul_(1 - lr * self.weight_decay).add_(updates[name], alpha=-lr * scale)

    def orthogonalised(self, matrices: Mapping[str, Tensor], exchange: Exchange | None) -> dict[str, Tensor]:
        """Every matrix through `orthogonalise`."""
        start = 0
        updates: dict[str, Tensor] = {}
        if self.world > 1:
            self._update.zero_()
        for (rows, columns), members in self.groups.items():
            stack_GRC = torch.cat([matrices[name].reshape(-1, rows, columns) for name in members])
            update_GRC = self._update[start : start + stack_GRC.numel()].view_as(stack_GRC)
            start += stack_GRC.numel()
            share = slice(self.rank, None, self.world)
            if stack_GRC[share].shape[0]:
                update_GRC[share] = orthogonalise(stack_GRC[share]).to(update_GRC.dtype)
            parts = update_GRC.flatten().split([matrices[name].numel() for name in members])
            updates |= {name: part.view_as(matrices[name]) for name, part in zip(members, parts, strict=True)}
        if exchange is not None and self.world > 1:
            exchange(self._update)
        return updates


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2, with a schedule from outside).

    Our own, because importing PyTorch's takes longer than importing the rest of PyTorch; a test works one update out by
    hand.
    """

    def __init__(self, named: Mapping[str, Tensor], *, betas: tuple[float, float], weight_decay: float) -> None:
        self.named = dict(named)
        self.betas = betas
        self.weight_decay = weight_decay
        self.steps = 0
        self.means = {name: torch.zeros_like(tensor) for name, tensor in self.named.items()}
        self.squares = {name: torch.zeros_like(tensor) for name, tensor in self.named.items()}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], lr: float, *, epsilon: float = 1e-8) -> None:
        self.steps += 1
        beta1, beta2 = self.betas
        tensors, means, squares = (list(of.values()) for of in (self.named, self.means, self.squares))
        grads = [gradients[name] for name in self.named]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, (1 - beta2**self.steps) ** 0.5)
        torch._foreach_add_(scales, epsilon)
        torch._foreach_mul_(tensors, 1 - lr * self.weight_decay)
        torch._foreach_addcdiv_(tensors, means, scales, -lr / (1 - beta1**self.steps))


class Optimizer:
    """Moves a network's weights; keeps fp32 masters where the network computes in another type.

    The loop calls `collect()` after each backward, `reduce()` when all are done, divides `gradient` and calls `step()`.
    `stats` is a tail of the buffer that travels along: the loop puts sums into it. What every method takes as
    `exchange` sums a tensor over processes, in place.
    """

    def __init__(
        self,
        model: nn.Module,
        optim: OptimSection,
        *,
        dtype: torch.dtype = torch.float32,
        stats: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`model` comes in fp32; its parameters (not its buffers) are turned into `dtype` here."""
        self.optim = optim
        self.model = model
        self.rank, self.world = rank, world
        self.model_parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.masters = self._masters(dtype)
        sizes = [master.numel() for master in self.masters.values()]
        self.device = next(iter(self.masters.values())).device
        self.buffer = torch.zeros(sum(sizes) + stats, device=self.device)
        self.gradient, self.stats = self.buffer[: sum(sizes)], self.buffer[sum(sizes) :]
        views = zip(self.masters.items(), self.gradient.split(sizes), strict=True)
        self.gradients = {name: view.view(master.shape) for (name, master), view in views}
        self._lend(dtype)

        hidden = {name for name, master in self.masters.items() if is_hidden_matrix(name, master)}
        by_muon = hidden if optim.name == "muon" else set()
        # Embeddings, norms and biases are not decayed: a token that is rarely seen should not fade.
        decayed = (hidden | {name for name in self.masters if "lm_head" in name}) - by_muon
        self.muon = self._muon(self._pick(by_muon))
        self.adamw = [
            AdamW(self._pick(decayed), betas=optim.betas, weight_decay=optim.weight_decay),
            AdamW(self._pick(self.masters.keys() - by_muon - decayed), betas=optim.betas, weight_decay=0.0),
        ]
        other_lr = optim.adam_lr or (0.003 if optim.name == "muon" else optim.lr)
        self.adamw_lr = [optim.lr if optim.name == "adamw" else other_lr, other_lr]

    def _masters(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The fp32 weights that are moved, by name."""
        return {name: parameter.detach() for name, parameter in self.model_parameters.items()}

    def _lend(self, dtype: torch.dtype) -> None:
        """Give the network its weights in `dtype`, and where its gradients go."""
        # An fp32 network is its own master, and lets backward add into the buffer directly.
        self.shadowed = dtype != torch.float32
        for name, parameter in self.model_parameters.items():
            if self.shadowed:
                parameter.data = parameter.data.to(dtype)
            else:
                parameter.grad = self.gradients[name]

    def _muon(self, named: Mapping[str, Tensor]) -> Muon:
        momentum, weight_decay = self.optim.momentum, self.optim.weight_decay
        return Muon(named, momentum=momentum, weight_decay=weight_decay, rank=self.rank, world=self.world)

    def _pick(self, names: Set[str]) -> dict[str, Tensor]:
        """Masters in the network's order."""
        return {name: master for name, master in self.masters.items() if name in names}

    @property
    def size(self) -> int:
        """How many weights are moved, over all processes that share them."""
        return sum(parameter.numel() for parameter in self.model_parameters.values())

    def whole(self) -> AbstractContextManager[None]:
        """Within it a forward needs no other process, so that processes may make different numbers of them.

        Every process must enter and leave it. Here the network always is whole.
        """
        return nullcontext()

    @torch.no_grad()
    def collect(self) -> None:
        """Add the gradients of one backward to the buffer (fp32 networks have done so already)."""
        if self.shadowed:
            for name, parameter in self.model_parameters.items():
                if parameter.grad is not None:
                    self.gradients[name].add_(parameter.grad)
                    parameter.grad = None

    def reduce(self, exchange: Exchange) -> None:
        """Sum gradients and `stats` over processes."""
        exchange(self.buffer)

    def norm(self, exchange: Exchange | None = None) -> float:
        """The Euclidean norm of all gradients."""
        return float(self.gradient.norm())

    @torch.no_grad()
    def step(self, factor: float, exchange: Exchange | None = None) -> float:
        """Clip, move every weight at `factor` of its peak learning rate, clear the buffer; returns the norm before."""
        norm = self.norm(exchange)
        if self.optim.grad_clip and norm > self.optim.grad_clip:
            self.gradient.mul_(self.optim.grad_clip / norm)
        if self.muon.named:
            self.muon.step(self.gradients, self.optim.lr * factor, exchange)
        for adamw, lr in zip(self.adamw, self.adamw_lr, strict=True):
            if adamw.named:
                adamw.step(self.gradients, lr * factor)
        self.publish()
        self.buffer.zero_()
        return norm

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the network."""
        if self.shadowed:
            for name, parameter in self.model_parameters.items():
                parameter.copy_(self.masters[name])

    def weights(self) -> dict[str, Tensor]:
        """The masters by name, for a checkpoint. Every process must call it; what it gives counts on rank 0."""
        return self.masters

    def own(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Of a checkpoint's weights or momenta what this process holds."""
        return tensors

    def network(self, model: Model, weights: Mapping[str, Tensor]) -> Model:
        """The network with what `weights` gave, to be exported. Rank 0 only."""
        return model

    def leave(self, folder: Path) -> None:
        """What else a run's folder should hold of what is learnt; rank 0 only. Here the network is all."""

    def state(self) -> dict[str, Tensor]:
        """Momenta by name, for a checkpoint; `restore` takes them back. As `weights`, for every process to call."""
        tensors = {f"muon.{name}": buffer for name, buffer in self.muon.buffers.items()}
        for adamw in self.adamw:
            for name in adamw.named:
                tensors[f"adamw.{name}.step"] = torch.tensor(float(adamw.steps))
                tensors[f"adamw.{name}.exp_avg"] = adamw.means[name]
                tensors[f"adamw.{name}.exp_avg_sq"] = adamw.squares[name]
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave. CheckpointError where a shape differs; a missing momentum starts afresh."""
        tensors = self.own(tensors)
        for name, buffer in self.muon.buffers.items():
            if f"muon.{name}" in tensors:
                buffer.copy_(_same_shape(name, tensors[f"muon.{name}"], buffer))
        for adamw in self.adamw:
            for name in adamw.named:
                if f"adamw.{name}.step" in tensors:
                    adamw.steps = int(tensors[f"adamw.{name}.step"])
                    for key, into in (("exp_avg", adamw.means[name]), ("exp_avg_sq", adamw.squares[name])):
                        into.copy_(_same_shape(name, tensors[f"adamw.{name}.{key}"], into))


def _same_shape(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.shape != like.shape:
        raise CheckpointError(
            f"The checkpoint's {name} has shape {tuple(tensor.shape)}, the recipe's model {tuple(like.shape)}; "
            "start a run of another name, or restore the recipe's [model]."
        )
    return tensor
