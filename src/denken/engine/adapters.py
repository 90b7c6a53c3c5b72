"""Adapters over one network: the rows of a step that have one get what it adds to each product, the others nothing.

    y += (x A^T) B^T        A (K, I), B (O, K), the scale in B

All adapters of a step are computed at once: their A stand side by side, and what a row gets from an A that is not its
own is set to zero before the product with B. So a step costs two small products and a mask for each of the network's,
however many adapters there are in it; a step without any is left alone. Sums are in fp32, whatever the network is in.

The change is added beside the product, not merged into the weights: the base is there once, also where it is
quantised. What goes through `Native` is reached by its `beside`, any other network through hooks on its layers, and
where latent attention reads a weight itself, by that one's `beside`. That no adapter reads another's blocks of the
cache is seen to by `cache.py`; files are `denken.model.adapters`'.
"""

# N = tokens of the step, R = rows of those that have an adapter, I = inputs, O = outputs, K = ranks of all adapters of
# the step together

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from denken.engine.native import Native
from denken.errors import CheckpointError, RequestError, quoted
from denken.model.adapters import Adapter, layers_of
from denken.model.attention import LatentAttention
from denken.model.kernels.call import covers
from denken.model.kernels.products import Packed
from denken.model.moe import Router, dealt

if TYPE_CHECKING:
    from denken.engine.runner import Model

Pairs = Mapping[str, tuple[Tensor, Tensor]]

# Layers that are reached in ways of their own: the up-projection of latent attention, and routed experts.
UP, EXPERTS = ".kv_b_proj", ".experts."

# The layers whose products `Native` makes together, by its names for them.
TOGETHER = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


class Adapters:
    """The adapters of an engine, by number; 0 is none. Numbers are never given twice."""

    def __init__(self, model: object, device: torch.device) -> None:
        self._model, self._device = model, device
        self._shapes = layers_of(model) if isinstance(model, nn.Module) else {}
        self._pairs: dict[int, Pairs] = {}
        self._ranks: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._stack: Stack | None = None

    def learn(self, folder: Path, base: str) -> int:
        """Reads an adapter and returns its number. base: what this model is called, for errors."""
        adapter = Adapter.open(folder, self._shapes, base)
        for name in adapter.layers:
            _check_can_change(name, adapter)
        pairs = {name: tuple(part.to(self._device) for part in adapter.read(name)) for name in adapter.layers}
        number = next(self._numbers)
        self._ranks[number], self._pairs[number] = adapter.settings.rank, cast(Pairs, pairs)
        return number

    def check(self, number: int) -> None:
        """Raises RequestError for a number that there is not."""
        if number and number not in self._pairs:
            raise RequestError(f"There is no adapter {number}; take a number that Engine.learn has given.")

    @contextmanager
    def over(self, numbers_N: Sequence[int], model: Model) -> Iterator[Model]:
        """While it is open, the network that it gives computes each row with its own adapter.

        numbers_N: one a row of the step. model: the network that computes where no row has any.
        """
        if not any(numbers_N):
            yield model
            return
        assert isinstance(self._model, nn.Module)
        step = Step(self._stacked({number for number in numbers_N if number}), numbers_N)
        with ExitStack() as held:
            if isinstance(model, Native):
                model.beside = step.beside
                held.callback(setattr, model, "beside", None)
                yield model
                return
            for name in step.stack.layers:
                parent = name.rpartition(".")[0]
                if name.endswith(UP):
                    attention = cast(LatentAttention, self._model.get_submodule(parent))
                    attention.beside = Absorbed(step, name, attention.plain)
                    held.callback(setattr, attention, "beside", None)
                else:
                    layer = self._model.get_submodule(name)
                    held.callback(layer.register_forward_hook(step.hook(name)).remove)
            for name in sorted({name.partition(EXPERTS)[0] for name in step.stack.layers if EXPERTS in name}):
                gate = self._model.get_submodule(name + ".gate")
                held.callback(gate.register_forward_hook(step.dealing(name)).remove)
            yield cast("Model", self._model)

    def _stacked(self, active: set[int]) -> Stack:
        """The matrices of these adapters side by side: those of the last step, where they are among them.

        Others that took part lately stay, up to an eighth of the network's width, so that nothing is copied while
        requests of a few adapters come and go.
        """
        if self._stack is None or not active <= self._stack.numbers:
            most = max((columns for _, columns in self._shapes.values()), default=0) // 8
            kept, rank = sorted(active), sum(self._ranks[number] for number in active)
            for number in self._stack.order if self._stack is not None else ():
                if number not in active and rank + self._ranks[number] <= most:
                    kept.append(number)
                    rank += self._ranks[number]
            self._stack = Stack(kept, self._ranks, self._pairs, self._shapes, self._device)
        return self._stack


def _check_can_change(name: str, adapter: Adapter) -> None:
    """CheckpointError for the head: its product is not made where a row's own adapter could be added."""
    if name == "lm_head":
        raise CheckpointError(
            f"{adapter.folder} changes {quoted(name)}, which cannot be changed for some rows of a batch alone; merge "
            "it (denken export BASE OUT --adapter FOLDER) and serve OUT."
        )


class Group:
    """What is added to several layers' products, which stand side by side: (x A, but for others' ranks) B.

    a_IX: each changed layer's A, X = K each. b_XO: their B, zero where a layer's ranks meet another layer's outputs.
    """

    def __init__(self, a_IX: Tensor, b_XO: Tensor) -> None:
        self.ranks = a_IX.shape[1]
        self._packed = (Packed(a_IX), Packed(b_XO)) if covers(a_IX) else None
        self._plain = None if self._packed else (a_IX, b_XO)

    def add(self, x_RI: Tensor, others_RX: Tensor, out_RO: Tensor) -> None:
        """Onto `out`, all in fp32."""
        # What is others' is not multiplied with zero: if it overflowed, it would become everybody's.
        if self._packed:
            a, b = self._packed
            b(a(x_RI).masked_fill_(others_RX, 0.0), out_RO, add=True)
        elif self._plain:
            a_IX, b_XO = self._plain
            out_RO.addmm_((x_RI @ a_IX).masked_fill_(others_RX, 0.0), b_XO)


class Stack:
    """Several adapters' matrices side by side, put together layer by layer as they are asked for."""

    def __init__(
        self,
        order: Sequence[int],
        ranks: Mapping[int, int],
        pairs: Mapping[int, Pairs],
        shapes: Mapping[str, tuple[int, int]],
        device: torch.device,
    ) -> None:
        self.order, self.numbers = list(order), frozenset(order)
        self.layers = list(dict.fromkeys(name for number in order for name in pairs[number]))
        # Whose each of the K is.
        self.owner_K = torch.tensor([number for number in order for _ in range(ranks[number])], device=device)
        self._ranks, self._pairs, self._shapes, self._device = ranks, pairs, shapes, device
        self._groups: dict[str | tuple[int, str], Group | None] = {}

    def group(self, key: str | tuple[int, str]) -> Group | None:
        """What is added to the product of a layer, or to that which `Native` makes of several; None if nothing is.

        key: the layer's name, or the block's number and what its product is called in TOGETHER.
        """
        if key not in self._groups:
            names = (key,) if isinstance(key, str) else [f"model.layers.{key[0]}.{name}" for name in TOGETHER[key[1]]]
            self._groups[key] = self._group(names)
        return self._groups[key]

    def _group(self, names: Sequence[str]) -> Group | None:
        changed = [name for name in names if name in self.layers]
        if not changed:
            return None
        a_XI = torch.cat([self._pair(number, name)[0] for name in changed for number in self.order])
        blocks = [
            torch.cat([self._pair(number, name)[1].t() for number in self.order])
            if name in self.layers
            else torch.zeros(0, self._shapes[name][0], device=self._device)
            for name in names
        ]
        return Group(a_XI.t().contiguous(), torch.block_diag(*blocks))

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        """A (K, I) and B (O, K) of one layer."""
        a, b = zip(*(self._pair(number, name) for number in self.order), strict=True)
        return torch.cat(a), torch.cat(b, dim=1)

    def _pair(self, number: int, name: str) -> tuple[Tensor, Tensor]:
        """An adapter's A and B of a layer; zeros where it leaves that layer as it is."""
        found = self._pairs[number].get(name)
        if found is not None:
            return found
        rank, (rows, columns) = self._ranks[number], self._shapes[name]
        return torch.zeros(rank, columns, device=self._device), torch.zeros(rows, rank, device=self._device)


class Company:
    """The rows of a product: which of them have an adapter, and whose ranks are not theirs."""

    def __init__(self, numbers_N: Tensor, owner_K: Tensor) -> None:
        rows_R = numbers_N.nonzero()[:, 0]
        self.rows_R = None if len(rows_R) == len(numbers_N) else rows_R
        self.empty = len(rows_R) == 0
        self._others_RK = numbers_N[rows_R][:, None] != owner_K
        self._others: dict[int, Tensor] = {}

    def others(self, ranks: int) -> Tensor:
        """For each of a group's X whether it is another's (R, X)."""
        if ranks not in self._others:
            self._others[ranks] = self._others_RK.repeat(1, ranks // self._others_RK.shape[1])
        return self._others[ranks]


class Step:
    """One step's rows, and what is added to their products. numbers_N: the adapter of each row, 0 for none."""

    def __init__(self, stack: Stack, numbers_N: Sequence[int]) -> None:
        self.stack = stack
        self.numbers_N = torch.tensor(numbers_N, device=stack.owner_K.device)
        self._everybody = Company(self.numbers_N, stack.owner_K)
        self._of_experts: dict[str, Company] = {}

    def beside(self, layer: int, part: str, x_NI: Tensor, out_NO: Tensor) -> None:
        """As `Native.beside`."""
        self._add((layer, part), x_NI, out_NO, self._everybody)

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        """For `register_forward_hook` on the layer of that name."""
        expert = name.rpartition(".")[0] if EXPERTS in name else ""

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            company = self._of_experts[expert] if expert else self._everybody
            self._add(name, inputs[0].flatten(0, -2), out.view(-1, out.shape[-1]), company)

        return hook

    def dealing(self, mixture: str) -> Callable[[nn.Module, tuple[Tensor, ...], tuple[Tensor, Tensor]], None]:
        """For `register_forward_hook` on the router of a mixture of experts: each expert sees the rows it is dealt."""

        def hook(router: nn.Module, _: tuple[Tensor, ...], out: tuple[Tensor, Tensor]) -> None:
            chosen_NS = out[1]
            order, counts = dealt(chosen_NS, cast(Router, router).config.n_routed_experts)
            for expert, rows in enumerate((order // chosen_NS.shape[1]).split(counts)):
                self._of_experts[f"{mixture}{EXPERTS}{expert}"] = Company(self.numbers_N[rows], self.stack.owner_K)

        return hook

    def _add(self, key: str | tuple[int, str], x_NI: Tensor, out_NO: Tensor, company: Company) -> None:
        """Adds to what one layer, or several side by side, made of x: onto the product itself, so that a row is the
        same to the bit in any company."""
        group = self.stack.group(key)
        if group is None or company.empty:
            return
        others_RX, rows_R = company.others(group.ranks), company.rows_R
        if rows_R is None and out_NO.dtype == torch.float32:
            group.add(x_NI, others_RX, out_NO)
            return
        x_RI, out_RO = (x_NI, out_NO) if rows_R is None else (x_NI[rows_R], out_NO[rows_R])
        sum_RO = out_RO.float()
        group.add(x_RI.float(), others_RX, sum_RO)
        if rows_R is None:
            out_NO.copy_(sum_RO)
        else:
            out_NO.index_copy_(0, rows_R, sum_RO.to(out_NO.dtype))


class Absorbed:
    """As `denken.model.attention.Beside`: a step's changes of an up-projection that is absorbed.

    plain: columns of a head's keys that have no position; its outputs are those, and then its values.
    """

    def __init__(self, step: Step, name: str, plain: int) -> None:
        # T = tokens of the step, H = heads, N = plain, E = columns of a value, C = the latent's, K = ranks
        self._a_KC, self._b_OK = step.stack.pair(name)
        self._plain = plain
        self._others_T1K = (step.numbers_N[:, None] != step.stack.owner_K)[:, None]

    def lifted(self, query_BTHN: Tensor) -> Tensor:
        key_HNK = self._b_OK.unflatten(0, (query_BTHN.shape[2], -1))[:, : self._plain]
        inner_BTHK = torch.einsum("bthn,hnk->bthk", query_BTHN.float(), key_HNK).masked_fill_(self._others_T1K, 0.0)
        return (inner_BTHK @ self._a_KC).to(query_BTHN.dtype)

    def lowered(self, seen_BTHC: Tensor) -> Tensor:
        value_HEK = self._b_OK.unflatten(0, (seen_BTHC.shape[2], -1))[:, self._plain :]
        inner_BTHK = (seen_BTHC.float() @ self._a_KC.t()).masked_fill_(self._others_T1K, 0.0)
        return torch.einsum("bthk,hek->bthe", inner_BTHK, value_HEK).to(seen_BTHC.dtype)
