"""A network whose weights, gradients and momenta are shared out among processes: FSDP2, under our optimiser.

PyTorch's `fully_shard` cuts every tensor by its rows, one part a process, gathers a layer's weights when a forward or
backward comes to it, and leaves each process the sum of the gradients of its own rows. What moves these rows is
`Optimizer` as always; only Muon must see whole matrices, for which processes exchange their rows (`ShardedMuon`).
Source: Zhao et al. 2023, "PyTorch FSDP", and https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.

Every process must make the same forwards and backwards, unless it is within `Optimizer.whole()`. There all weights are
gathered once, gradients stay where they arise, and `reduce` sums them in one exchange: masters and momenta are shared
out, weights and gradients are not. Generation and GRPO's batches of rollouts, which differ in number, run that way.

Checkpoints hold whole tensors, so that a run may go on with sharding or without it, in any number of processes.
Tried with gloo on CPUs; nothing here asks for them.
"""

# R = rows, r = rows of this process, C = columns, G = matrices of one shape, g = those of this process

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from denken.config import OptimSection
from denken.errors import ConfigError
from denken.model.transformer import Transformer
from denken.train.optim import Exchange, Model, Muon, Optimizer, orthogonalise


class ShardedOptimizer(Optimizer):
    """An `Optimizer` of which every process holds some rows of every tensor: `masters`, `gradients` and momenta are
    this process's."""

    model: Transformer

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
        """`model` is a `Transformer` in fp32, whole and the same in every process. It will compute in `dtype`."""
        self._depth = 0
        super().__init__(model, optim, dtype=dtype, stats=stats, rank=rank, world=world)

    def _masters(self, dtype: torch.dtype) -> dict[str, Tensor]:
        shard(self.model, dtype)
        self.shards = {name: cast(DTensor, p) for name, p in self.model.named_parameters() if p.requires_grad}
        self.model_parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        return {name: rows.to_local().detach() for name, rows in self.shards.items()}

    def _lend(self, dtype: torch.dtype) -> None:
        """FSDP keeps the rows in fp32 and makes the network's own of them."""
        self.shadowed = dtype != torch.float32

    def _muon(self, named: Mapping[str, Tensor]) -> Muon:
        shapes = {name: self.shards[name].shape for name in named}
        return ShardedMuon(
            named,
            shapes,
            momentum=self.optim.momentum,
            weight_decay=self.optim.weight_decay,
            rank=self.rank,
            world=self.world,
        )

    @contextmanager
    def whole(self) -> Iterator[None]:
        self._depth += 1
        if self._depth == 1:
            self._gather()
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._let_go()

    def _gather(self) -> None:
        self._hold(True)
        for module in self._modules():
            module.unshard()
        # FSDP hides from autograd that the values are new; an engine that keeps something of them must notice.
        torch.autograd.graph.increment_version(list(self.model.parameters()))

    def _let_go(self) -> None:
        self._hold(False)
        for module in self._modules():
            module.reshard()

    def _hold(self, keep: bool) -> None:
        """Whether weights stay whole after they were used, and gradients after they were made."""
        for module in self._modules():
            module.set_reshard_after_forward(not keep, recurse=False)
            module.set_reshard_after_backward(not keep, recurse=False)
            module.set_requires_gradient_sync(not keep, recurse=False)

    def _modules(self) -> list[FSDPModule]:
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    @torch.no_grad()
    def collect(self) -> None:
        for name, parameter in self.shards.items():
            if parameter.grad is not None:
                self.gradients[name].add_(cast(DTensor, parameter.grad).to_local())
                parameter.grad = None

    def reduce(self, exchange: Exchange) -> None:
        """Gradients are summed already, backward by backward; within `whole` a backward of nothing sums them now."""
        if self._depth:
            for module in self._modules():
                module.set_requires_gradient_sync(True, recurse=False)
            # All must sum the same tensors, whatever each has used of the network.
            for parameter in self.model.parameters():
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            nothing = self.model.logits(self.model.hidden(torch.zeros(1, 1, dtype=torch.long))) * 0
            nothing.sum().backward()
            self.collect()
            self._hold(True)
        exchange(self.stats)

    def norm(self, exchange: Exchange | None = None) -> float:
        square = self.gradient.square().sum()
        if exchange is not None:
            exchange(square)
        return float(square.sqrt())

    def publish(self) -> None:
        """Nothing to do for weights that are gathered when they are wanted; those that are must be gathered anew."""
        if self._depth:
            self._let_go()
            self._gather()

    def weights(self) -> dict[str, Tensor]:
        return self._to_rank_0({name: (name, master) for name, master in self.masters.items()})

    def state(self) -> dict[str, Tensor]:
        """As `Optimizer.state`, in whole tensors; nothing in other processes than rank 0."""
        rows, counters = {}, {}
        for key, tensor in super().state().items():
            name = key.removeprefix("muon.").removeprefix("adamw.").removesuffix(".exp_avg").removesuffix(".exp_avg_sq")
            if name in self.shards:
                rows[key] = (name, tensor)
            else:
                counters[key] = tensor
        return self._to_rank_0(rows) | counters

    def _to_rank_0(self, rows: Mapping[str, tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Whole tensors from everybody's rows; rows: key to (the parameter's name, this process's rows)."""
        gathered = {}
        for key, (name, tensor) in rows.items():
            like = self.shards[name]
            spread = DTensor.from_local(
                tensor, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
            )
            # One at a time, so that no other process than rank 0 ever holds more than one.
            tensor = spread.full_tensor()
            if self.rank == 0:
                gathered[key] = tensor.clone()
        return gathered

    def own(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """This process's rows of whole tensors; what has no rows is everybody's."""
        return {key: tensor[self._rows(tensor.shape[0])] if tensor.ndim else tensor for key, tensor in tensors.items()}

    def _rows(self, rows: int) -> slice:
        return slice(*_bounds(rows, self.world)[self.rank])

    def network(self, model: Model, weights: Mapping[str, Tensor]) -> Model:
        """A second network, of the weights themselves; `model` goes on being shared out."""
        with torch.device("meta"):
            network = Transformer(self.model.config)
        dtype = torch.bfloat16 if self.shadowed else torch.float32
        network.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
        return cast(Model, network)


class ShardedMuon(Muon):
    """Muon whose matrices (two dimensions, no stacks) are spread over processes by rows.

    Matrix i of a shape is put together in process i % world, orthogonalised there, and sent back: two exchanges a
    shape, in which every process sends no more than it holds.
    """

    def __init__(
        self,
        named: Mapping[str, Tensor],
        shapes: Mapping[str, torch.Size],
        *,
        momentum: float,
        weight_decay: float,
        rank: int,
        world: int,
    ) -> None:
        """named: this process's rows. shapes: the whole tensors'."""
        super().__init__({}, momentum=momentum, weight_decay=weight_decay, rank=rank, world=world)
        self.named = dict(named)
        self.buffers = {name: torch.zeros_like(tensor) for name, tensor in named.items()}
        for name, (rows, columns) in shapes.items():
            self.groups.setdefault((rows, columns), []).append(name)

    def orthogonalised(self, matrices: Mapping[str, Tensor], exchange: Exchange | None) -> dict[str, Tensor]:
        updates: dict[str, Tensor] = {}
        for (rows, _), members in self.groups.items():
            mine_GrC = torch.stack([matrices[name] for name in members])
            updates |= dict(zip(members, self._together(mine_GrC, rows), strict=True))
        return updates

    def _together(self, mine_GrC: Tensor, rows: int) -> Tensor:
        """The updates of this process's rows (G, r, C) of matrices with `rows` rows."""
        count, my_rows, columns = mine_GrC.shape
        # In the order of those who orthogonalise them.
        order = torch.tensor([i for rank in range(self.world) for i in range(rank, count, self.world)])
        shares = [len(range(rank, count, self.world)) for rank in range(self.world)]
        heights = [end - start for start, end in _bounds(rows, self.world)]
        share = shares[self.rank]
        sent = [each * my_rows * columns for each in shares]
        received = [share * height * columns for height in heights]
        whole = _swap(mine_GrC[order].flatten(), sent, received)
        parts = [part.view(share, height, columns) for part, height in zip(whole.split(received), heights, strict=True)]
        whole_gRC = torch.cat(parts, dim=1)
        if share:
            whole_gRC = orthogonalise(whole_gRC).to(mine_GrC.dtype)
        back = torch.cat([part.flatten() for part in whole_gRC.split(heights, dim=1)])
        update_GrC = torch.empty_like(mine_GrC)
        update_GrC[order] = _swap(back, received, sent).view_as(mine_GrC)
        return update_GrC


def shard(model: Transformer, dtype: torch.dtype) -> None:
    """Cut the network's tensors up among all processes, every layer a group that is gathered together. In place.

    Its gradients will be sums over processes, in fp32. ConfigError for experts where PyTorch cannot spread them.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    mesh = init_device_mesh(model.head_weight.device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    # The trainers ask for hidden states first, and then for logits where they are wanted.
    for method in ("hidden", "logits", "logprobs"):
        register_fsdp_forward_method(model, method)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            if model.config.n_routed_experts:
                _sum_unused(module)


def _sum_unused(module: FSDPModule) -> None:
    """An expert may have tokens in one process only; the others must take part in the sum of its gradient."""
    take_part: Callable[[bool], None] | None = getattr(module, "set_reduce_scatter_unused_params", None)
    if take_part is None:
        raise ConfigError(
            f"PyTorch {torch.__version__} cannot shard a network with experts; install torch>=2.13, or leave out shard."
        )
    take_part(True)


def _bounds(rows: int, world: int) -> list[tuple[int, int]]:
    """Where each process's rows begin and end, as `torch.chunk` cuts them; the last ones may have none."""
    size = -(-rows // world)
    return [(min(rows, rank * size), min(rows, (rank + 1) * size)) for rank in range(world)]


def _swap(tensor: Tensor, sent: list[int], received: list[int]) -> Tensor:
    """To every process its part of `tensor`, from every process a part; sizes in numbers, by rank."""
    into = tensor.new_empty(sum(received))
    dist.all_to_all_single(into, tensor.contiguous(), received, sent)
    return into
