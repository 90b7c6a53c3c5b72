"""A model's linear layers one block after the other, each seeing what the quantised blocks before it give.

The memory is that of one block, its layers' H (gptq) and the calibration's hidden states; weights are read when their
block's turn comes. Within a block, layers that hear the same input are quantised together, then the block runs again:
the output projection sees the attention of quantised queries, the down projection quantised gates. Layers that read
their weights directly (the head, DeepSeek's kv_b_proj), routers, norms and embeddings stay as they are, and so does a
layer whose rows are no multiple of the group.

Experts: a layer's H are all held at once, one an expert; an expert that no text chose is rounded to the nearest.
"""

# N = tokens of a text, M = hidden size, I = inputs of a layer

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from denken.errors import ConfigError
from denken.model import checkpoint, quantized
from denken.model.attention import Causal
from denken.model.checkpoint import Weights
from denken.model.config import ModelConfig
from denken.model.quantized import READ_DIRECTLY, QuantizedLinear, Scheme
from denken.model.rope import Rotary
from denken.model.transformer import Block
from denken.quantize.gptq import gptq
from denken.quantize.rounding import rounded

Method = Literal["round", "gptq"]
# In the order of a block's computing: what is behind hears what the layers before it have become.
STAGES = (
    ("q_proj", "k_proj", "v_proj", "q_a_proj", "kv_a_proj_with_mqa"),
    ("q_b_proj",),
    ("o_proj",),
    ("gate_proj", "up_proj"),
    ("down_proj",),
)
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


def planned(config: ModelConfig, scheme: Scheme) -> dict[str, Scheme]:
    """The layers to quantise, by name. ConfigError where there is none."""
    found = {
        name: scheme
        for name, module in checkpoint.blank(config).named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[2] not in READ_DIRECTLY
        and scheme.fits(module.in_features)
    }
    if not found:
        raise ConfigError(
            f"No layer of this model has rows of a multiple of {scheme.group} numbers; use --type int8, which has no "
            "groups."
        )
    return found


class Quantiser:
    """Reads the tensors of the quantised model by name, in the order of its `state_dict`.

    texts: ids to calibrate with, for gptq; may be empty for round. done: called with the number of each block that is
    quantised.
    """

    def __init__(
        self,
        weights: Weights,
        plan: dict[str, Scheme],
        method: Method,
        texts: Sequence[Sequence[int]],
        done: Callable[[int], None] = lambda _: None,
    ) -> None:
        if method == "gptq" and not texts:
            raise ConfigError("gptq needs texts to calibrate with; give some, or use the method round.")
        self.weights, self.plan, self.method, self._done = weights, plan, method, done
        self._at = -1
        self._block: dict[str, Tensor] = {}
        self._texts = texts if method == "gptq" else ()
        self._hidden_NM: list[Tensor] = []
        config = weights.config
        self._rotary = Rotary(config.head_dim, config.rope_theta, config.rope_scaling, config.max_position_embeddings)

    @torch.no_grad()
    def read(self, name: str) -> Tensor:
        """One tensor of the quantised model. Blocks must be asked for in order, each as often as is liked."""
        found = LAYER.fullmatch(name)
        if found is None:
            return self.weights.read(name)
        number = int(found[1])
        while self._at < number:
            self._next()
        assert self._at == number, "blocks are quantised in order"
        return self._block[found[2]]

    def _next(self) -> None:
        self._at += 1
        prefix = f"model.layers.{self._at}."
        block = self._load(prefix)
        plan = {name.removeprefix(prefix): how for name, how in self.plan.items() if name.startswith(prefix)}
        if self.method == "round":
            for name, scheme in plan.items():
                _put(block, name, scheme, *rounded(_weight(block, name), scheme))
        else:
            self._calibrate(block, plan)
        stored = block.state_dict()
        # What stays as it is comes from the file, in its own precision.
        self._block = {
            name: tensor if name.rpartition(".")[0] in plan and not name.endswith(".bias") else self._original(name)
            for name, tensor in stored.items()
        }
        self._done(self._at)

    def _original(self, name: str) -> Tensor:
        return self.weights.read(f"model.layers.{self._at}.{name}")

    def _load(self, prefix: str) -> Block:
        with torch.device("meta"):
            block = Block(self.weights.config, self._at).eval()
        state = {name: self.weights.read(prefix + name, torch.float32) for name in block.state_dict()}
        block.load_state_dict(state, assign=True)
        return block

    def _calibrate(self, block: Block, plan: dict[str, Scheme]) -> None:
        if not self._hidden_NM:
            embedding_VM = self.weights.read("model.embed_tokens.weight", torch.float32)
            self._hidden_NM = [embedding_VM[torch.tensor(text)] for text in self._texts]
        for stage in STAGES:
            names = [name for name in plan if name.rpartition(".")[2] in stage]
            if names:
                with _watched(block, names) as hessians:
                    for _ in self._run(block):
                        pass
                for name in names:
                    _put(block, name, plan[name], *gptq(_weight(block, name), hessians[name], plan[name]))
        self._hidden_NM = list(self._run(block))

    def _run(self, block: Block) -> Iterator[Tensor]:
        """What the block makes of each text."""
        for hidden_NM in self._hidden_NM:
            angles = self._rotary(torch.arange(len(hidden_NM))[None])
            yield block(hidden_NM[None], angles, Causal())[0]


def _weight(block: Block, name: str) -> Tensor:
    weight: Tensor = block.get_parameter(f"{name}.weight")
    return weight


def _put(block: Block, name: str, scheme: Scheme, codes_OI: Tensor, scale_OG: Tensor) -> None:
    """The quantised layer in the place of the other."""
    linear = block.get_submodule(name)
    quantized.replace_linears(block, {name: scheme})
    layer = block.get_submodule(name)
    assert isinstance(layer, QuantizedLinear)
    tensors = scheme.tensors(codes_OI, scale_OG)
    layer.load_state_dict(tensors if linear.bias is None else {**tensors, "bias": linear.bias}, assign=True)


@contextmanager
def _watched(block: Block, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While it lasts, the sums of x x^T of these layers' inputs grow by all that they hear."""
    hessians: dict[str, Tensor] = {}
    last: list[Any] = [None, None]

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hear(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            if last[0] is not given[0]:  # layers side by side hear one tensor
                x_NI = given[0].flatten(0, -2).float()
                last[:] = given[0], x_NI.t() @ x_NI
            hessians[name].add_(last[1])

        return hear

    hooks = []
    for name in names:
        layer = block.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        hessians[name] = torch.zeros(layer.in_features, layer.in_features)
        hooks.append(layer.register_forward_pre_hook(watch(name)))
    try:
        yield hessians
    finally:
        for hook in hooks:
            hook.remove()
