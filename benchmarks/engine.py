"""The engine's speed beside what people use, on the same machine: llama.cpp and transformers, on random weights.

    python benchmarks/engine.py                       # every row, about twenty-five minutes on a quiet machine
    python benchmarks/engine.py --rows decode-4bit --rounds 5
    python benchmarks/engine.py --rows decode-4bit --neighbour --out runs/neighbour.jsonl
    python benchmarks/engine.py --list

Shapes: that of DeepSeek-R1-Distill-Qwen-1.5B, exactly, a Qwen3 of 5 million weights, four layers of
DeepSeek-R1-Distill-Qwen-7B, held to the bars of the first, and, in bf16, R1's own architecture: four layers as wide as
DeepSeek-V2-Lite's, and a small one. Weights are random, which changes no speed. Every contestant
is a process of its own and waits while another one works; they take turns, and the median of the turns' own figures
counts. Ratios are medians of the ratios within a turn: machines drift, and turns are minutes apart. Rows that
stand in `--out` already are not measured again; delete a row's line, or the file, for that.

llama.cpp comes through llama-cpp-python, built for this very machine:
CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" pip install llama-cpp-python. It runs with its files in memory, not
mapped, which is its faster setting; its 4-bit head is Q6_K, as its own tool writes it, and nothing is sampled from its
logits, while our figures include sampling. What is not installed is left out. Up to 16 GiB of memory are taken at once,
and 7 GiB of disk under `--folder`. Runs alone, on an otherwise idle machine, or not at all; with `--neighbour`, beside
a process that keeps a core busy, and nothing else.

Four rows hold the engine to itself: the bundled model's own thoughts with guesses beside those without (as in every
row of decoding, without the reading of the prompts), 32 clients of
a server beside the bare engine (of random weights, as large as 1.5B's layers, and of the bundled model, on one thread,
which leaves a core for the server), and the memory that a full cache takes, weights included, beside what both hold.
What one stream reads is told as a share of the bandwidth that a loop finds before and behind it in the same round.
`curves.py` draws tokens a second over streams and over what was read.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from denken import doctor

BIG = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": True,
}
TINY = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
}
# The layers of DeepSeek-R1-Distill-Qwen-1.5B with the bundled model's vocabulary.
LAYERS = {key: value for key, value in BIG.items() if key.startswith(("hidden", "num", "intermediate", "head"))}
# Four of the 28 layers of DeepSeek-R1-Distill-Qwen-7B, and no more of its vocabulary than a head needs to be one.
SEVEN = BIG | {
    "vocab_size": 2048,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 4,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
# Four of the 27 layers of DeepSeek-V2-Lite, as a DeepSeek-V3: latent attention, one dense layer, three of 64 experts.
LATENT = {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 2048,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "rope_interleave": True,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "hidden_act": "silu",
}
# As small as the Qwen3 above, with everything that DeepSeek-V3 has.
TINY_LATENT = LATENT | {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "moe_intermediate_size": 128,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
}
SHAPES: dict[str, dict[str, Any]] = {
    "1.5B": BIG,
    "5M": TINY,
    "1.3B": LAYERS,
    "7B": SEVEN,
    "V3": LATENT,
    "tiny V3": TINY_LATENT,
    "bundled": {},
}
ANSWERS = ("guessing", "plain", "bare", "served")
NOISE = 1 << 22
# Weights of fewer bytes are not read from memory.
NEAR = 256 << 20
LLAMA = ("llama.cpp BF16", "llama.cpp Q8_0", "llama.cpp Q4_0")
EIGHT, FOUR, FOUR_HEAD8 = "denken int8", "denken int4", "denken int4, head int8"
EIGHT_ROWS8 = "denken int8, rows int8"


@dataclass(frozen=True, slots=True)
class Row:
    """ours, peers: contestants. streams: 0 for the reading of a prompt. bar: what ours / best peer is to be, or, with
    nobody beside it, what ours is not to exceed. does: what is timed. threads: instead of those that were asked for."""

    shape: str
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    streams: int
    bar: float
    steps: int = 16
    prompt: int = 32
    does: Literal["decode", "prefill", "answer", "fill"] = "decode"
    threads: int | None = None


ROWS = {
    "decode-4bit": Row("1.5B", (FOUR, FOUR_HEAD8), ("llama.cpp Q4_0",), 1, 1.0, 32),
    "decode-8bit": Row("1.5B", (EIGHT,), ("llama.cpp Q8_0",), 1, 1.1, 32),
    "decode-bf16": Row("1.5B", ("denken bf16",), ("transformers bf16", "llama.cpp BF16"), 1, 1.8, 16),
    "decode-8-streams": Row("1.5B", (EIGHT, FOUR), LLAMA, 8, 2.5, 8),
    "decode-32-streams": Row("1.5B", (EIGHT, FOUR), LLAMA, 32, 1.9, 4, 16),
    "prefill-512": Row("1.5B", (EIGHT, FOUR), (*LLAMA, "transformers bf16"), 0, 1.8, 1, 512, "prefill"),
    "tiny-1-stream": Row(
        "5M", ("denken fp32", "denken bf16", EIGHT), ("llama.cpp BF16", "llama.cpp Q8_0"), 1, 1.2, 128, 64
    ),
    "tiny-32-streams": Row(
        "5M",
        ("denken fp32", "denken bf16", EIGHT, EIGHT_ROWS8),
        ("llama.cpp BF16", "llama.cpp Q8_0"),
        32,
        3.0,
        32,
        64,
    ),
    "7B-layers-4bit": Row("7B", (FOUR,), ("llama.cpp Q4_0",), 1, 1.0, 64),
    "7B-layers-8bit": Row("7B", (EIGHT,), ("llama.cpp Q8_0",), 1, 1.1, 64),
    "7B-layers-8-streams": Row("7B", (EIGHT, FOUR), LLAMA, 8, 2.5, 16),
    "7B-layers-32-streams": Row("7B", (EIGHT, FOUR), LLAMA, 32, 1.9, 8, 16),
    "7B-layers-prefill": Row("7B", (EIGHT, FOUR), LLAMA, 0, 1.8, 1, 512, "prefill"),
    "decode-8-streams-bf16": Row("1.5B", ("denken bf16",), ("transformers bf16",), 8, 1.8, 8),
    "decode-32-streams-bf16": Row("1.5B", ("denken bf16",), ("transformers bf16",), 32, 1.8, 4, 16),
    "prefill-512-bf16": Row("1.5B", ("denken bf16",), ("transformers bf16",), 0, 1.8, 1, 512, "prefill"),
    "tiny-1-stream-bf16": Row("5M", ("denken bf16",), ("transformers bf16",), 1, 1.8, 128, 64),
    "tiny-32-streams-bf16": Row("5M", ("denken bf16",), ("transformers bf16",), 32, 1.8, 32, 64),
    "V3-layers-1-stream-bf16": Row("V3", ("denken bf16",), ("transformers bf16",), 1, 1.8, 32),
    "V3-layers-8-streams-bf16": Row("V3", ("denken bf16",), ("transformers bf16",), 8, 1.8, 16),
    "V3-layers-32-streams-bf16": Row("V3", ("denken bf16",), ("transformers bf16",), 32, 1.8, 8, 16),
    "V3-layers-prefill-bf16": Row("V3", ("denken bf16",), ("transformers bf16",), 0, 1.8, 1, 512, "prefill"),
    "tiny-V3-1-stream-bf16": Row("tiny V3", ("denken bf16",), ("transformers bf16",), 1, 1.8, 64, 64),
    "tiny-V3-32-streams-bf16": Row("tiny V3", ("denken bf16",), ("transformers bf16",), 32, 1.8, 16, 64),
    "speculation": Row("bundled", ("denken guessing",), ("denken plain",), 1, 1.5, does="answer"),
    "server": Row("1.3B", ("denken served",), ("denken bare",), 32, 0.9, does="answer"),
    "server-small": Row("bundled", ("denken served",), ("denken bare",), 32, 0.9, threads=1, does="answer"),
    "memory": Row("1.5B", (EIGHT,), (), 32, 1.15, 24, 504, "fill"),
}
# decode-bf16 is held to transformers alone; llama.cpp stands beside it.
HELD_TO = {"decode-bf16": ("transformers bf16",)}


class Ours:
    """The engine over weights in fp32, bf16, int8 or int4."""

    def __init__(self, shape: dict[str, Any], kind: str, threads: int, folder: Path, streams: int) -> None:
        from denken.engine.engine import Engine
        from denken.model.compressed import bytes_of, compress

        torch.set_num_threads(threads)
        self.shape, self.before = shape, resident()
        bits, *others = kind.split(", ")
        asked = dict(other.split(" ") for other in others)
        head = asked.get("head")
        model, self.bytes = network(shape, bits)
        rounded = head or (bits if bits.startswith("int") else None)
        head_numbers, kept = shape["vocab_size"] * shape["hidden_size"], 0.0
        if rounded:
            kept = head_numbers * (1.0 if rounded == "int8" else 4.5 / 8)
        elif compress(model):  # as `denken.load` does
            self.bytes, kept = bytes_of(model), head_numbers * 1.5
        self.read = self.bytes - _bytes(model.model["embed_tokens"].weight)  # looked up, not read
        if experts := shape.get("n_routed_experts"):
            routed = sum(size for name, size in sizes(model).items() if ".experts." in name)
            self.read -= routed * (experts - shape["num_experts_per_tok"]) // experts
        if kept:
            self.read += int(kept) - _bytes(model.head_weight)
            self.bytes += int(kept)
        options: dict[str, Any] = {"head": rounded, "narrow_rows": asked.get("rows", False)}
        self.engine = Engine(model, eos_ids=[], cache_tokens=16384, prefix_reuse=False, ahead=True, **options)
        self.taken = resident() - self.before
        self.version = f"torch {torch.__version__}"

    def start(self, prompts: list[list[int]]) -> None:
        from denken.types import SamplingParams

        for prompt in prompts:
            self.engine.add(prompt, SamplingParams(temperature=0, max_tokens=1000))
        seen: set[int] = set()
        while len(seen) < len(prompts):
            seen |= {output.request for output in self.engine.step()}

    def decode(self, steps: int) -> int:
        """A step may be several, so that it ends a little further."""
        made, wanted = 0, steps * self.engine.running
        while made < wanted:
            made += sum(len(output.ids) for output in self.engine.step())
        return made

    def prefill(self, prompt: list[int]) -> None:
        from denken.types import SamplingParams

        self.engine([prompt], SamplingParams(temperature=0, max_tokens=1))

    def fill(self, asked: tuple[list[list[int]], int]) -> float:
        """The most memory taken while prompts go on for so many ids, of weights and their keys and values."""
        from denken.types import SamplingParams

        prompts, new = asked
        for prompt in prompts:
            self.engine.add(prompt, SamplingParams(temperature=0, max_tokens=new))
        most = 0
        while self.engine.has_work:
            self.engine.step()
            most = max(most, resident() - self.before)
        keys = 2 * self.shape["num_key_value_heads"] * self.shape["head_dim"] * self.shape["num_hidden_layers"]
        cache = sum(len(prompt) + new for prompt in prompts) * keys * torch.bfloat16.itemsize
        return most / (self.bytes + cache)


class Answers:
    """A model that answers questions: the bundled one's own tasks one by one, with guesses or without, or as many at a
    time as there are streams, a large one, by the engine alone or by a server."""

    bytes = read = taken = 0
    # How long what is measured took, where it is not all of a task: reading questions is not saying thoughts.
    took: float | None = None

    def __init__(self, shape: dict[str, Any], kind: str, threads: int, folder: Path, streams: int) -> None:
        import speculate

        import serve
        from denken.assistant import BUNDLED, load
        from denken.engine import ngrams
        from denken.engine.speculate import Speculation

        self.kind, self.streams, self.large, self._kept = kind, streams, bool(shape), ExitStack()
        model: str | Path = "bundled"
        if shape:
            model = folder / "large"
            if not (model / "config.json").exists():
                serve.write_larger(model, shape, torch.bfloat16)
        self.version = f"torch {torch.__version__}"
        if kind == "served":
            self._place = self._kept.enter_context(serve.serving(threads, str(model)))
            return
        assistant = self._kept.enter_context(load(model, threads=threads))
        self.assistant = assistant
        if kind in ("guessing", "plain"):
            known = ngrams.find(BUNDLED, assistant.tokenizer.vocab_size)
            guesses = Speculation(known=known) if kind == "guessing" else None
            self.engine = speculate.engine_of(assistant, guesses, ahead=True)

    def close(self) -> None:
        self._kept.close()

    def answer(self, round_: int) -> int:
        """How many tokens the answers to a round's questions had."""
        import speculate

        import serve
        from denken.types import SamplingParams

        if self.kind in ("guessing", "plain"):
            own = list(speculate.questions(self.assistant, 85, speculate.FIRST_SEED + 1000 * round_))
            params = SamplingParams(temperature=0, max_tokens=400)
            said, seconds = zip(*(speculate.decode(self.engine, prompt, params) for prompt in own), strict=True)
            self.took = sum(seconds)
            return sum(said)
        each, most = (1, 24) if self.large else (6, None)
        asked = serve.questions(each * self.streams, seed=round_)
        if self.kind == "bare":
            return serve.bare(self.assistant, asked, self.streams, most)
        fields = serve.GREEDY | {"stream_options": {"include_usage": True}, "max_tokens": most}
        responses = asyncio.run(serve.crowd(self._place.port, asked, self.streams, **fields))
        return sum(serve.said(response)[1] for response in responses)


class Llama:
    """llama.cpp by its C interface."""

    def __init__(self, shape: dict[str, Any], kind: str, threads: int, folder: Path, streams: int) -> None:
        import llama_cpp

        self.lib = llama_cpp
        self.version = f"llama-cpp-python {llama_cpp.__version__}"
        before = resident()
        file = gguf_file(shape, kind, folder)
        self.bytes = self.read = file.stat().st_size
        quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        self._kept = quiet
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        of_model = llama_cpp.llama_model_default_params()
        of_model.use_mmap = False
        self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), of_model)
        of_context = llama_cpp.llama_context_default_params()
        of_context.n_ctx = streams * 1024
        of_context.n_batch = of_context.n_ubatch = 1024
        of_context.n_seq_max = streams
        of_context.n_threads = of_context.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, of_context)
        if not self.context:
            raise SystemExit("llama.cpp could not open its file")
        self.batch = llama_cpp.llama_batch_init(1024, 0, 1)
        self.taken = resident() - before
        self.length, self.streams = 0, 0

    def _run(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        """tokens: id, position, sequence, whether logits are wanted."""
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            self.batch.token[i], self.batch.pos[i] = token, position
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
            self.batch.logits[i] = wanted
        self.batch.n_tokens = len(tokens)
        if self.lib.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama.cpp could not decode")
        self.lib.llama_get_logits(self.context)  # waits for them

    def start(self, prompts: list[list[int]]) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        for number, prompt in enumerate(prompts):
            self._run([(token, i, number, i + 1 == len(prompt)) for i, token in enumerate(prompt)])
        self.length, self.streams = len(prompts[0]), len(prompts)

    def decode(self, steps: int) -> None:
        for _ in range(steps):
            self._run([(7 + s, self.length, s, True) for s in range(self.streams)])
            self.length += 1

    def prefill(self, prompt: list[int]) -> None:
        self.start([prompt])


class Transformers:
    """transformers' own forward pass with its cache, as `generate` calls it."""

    def __init__(self, shape: dict[str, Any], kind: str, threads: int, folder: Path, streams: int) -> None:
        import transformers

        torch.set_num_threads(threads)
        before = resident()
        self.version = f"transformers {transformers.__version__}"
        config = transformers.AutoConfig.for_model(**shape)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        self.model = model.to_empty(device="cpu").eval()
        for parameter in self.model.parameters():
            fill(parameter.data)
        own = type(self.model.model.rotary_emb)(config)
        self.model.model.rotary_emb = own  # its table is no parameter
        self.bytes = self.read = sum(_bytes(p) for p in self.model.parameters())
        self.taken = resident() - before

    @torch.inference_mode()
    def start(self, prompts: list[list[int]]) -> None:
        out = self.model(input_ids=torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        self.past, self.next = out.past_key_values, out.logits[:, -1:].argmax(-1)

    @torch.inference_mode()
    def decode(self, steps: int) -> None:
        for _ in range(steps):
            out = self.model(input_ids=self.next, past_key_values=self.past, use_cache=True)
            self.past, self.next = out.past_key_values, out.logits[:, -1:].argmax(-1)

    def prefill(self, prompt: list[int]) -> None:
        self.start([prompt])


KINDS: dict[str, Callable[[dict[str, Any], str, int, Path, int], Ours | Answers | Llama | Transformers]] = {
    "denken": lambda shape, kind, *rest: (Answers if kind in ANSWERS else Ours)(shape, kind, *rest),
    "llama.cpp": Llama,
    "transformers": Transformers,
}


def network(shape: dict[str, Any], kind: str) -> tuple[Any, int]:
    """A model of random weights and the bytes that they take, without drawing every number."""
    from denken.model.checkpoint import blank
    from denken.model.config import ModelConfig
    from denken.model.quantized import INT8, QuantizedLinear, Scheme, replace_linears

    model = blank(ModelConfig.from_hf(shape))
    if kind.startswith("int"):
        names = [name for name, _ in model.named_modules() if name.endswith("_proj") and not name.endswith("kv_b_proj")]
        replace_linears(model, dict.fromkeys(names, INT8 if kind == "int8" else Scheme(4, 32)))
    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    model = model.to(dtype).to_empty(device="cpu").eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if "norm" in name:
            parameter.fill_(1)
        else:
            fill(parameter)
    total = sum(_bytes(p) for p in model.parameters())
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            for name, buffer in module.named_buffers():
                if name == "weight_scale":
                    # In bf16 numbers, as most folders hold them.
                    buffer.fill_(2.0**-12 if kind == "int8" else 2.0**-8)
                elif name == "weight_shape":
                    buffer.copy_(torch.tensor([module.out_features, module.in_features]))
                elif name != "bias":
                    fill(buffer)
                else:
                    buffer.zero_()
            bits = 8.0 if kind == "int8" else 4.5
            total += int(module.in_features * module.out_features * bits / 8)
    return model, total


def fill(tensor: torch.Tensor) -> None:
    """Random numbers, the same again and again."""
    generator = torch.Generator().manual_seed(0)
    flat = tensor.view(-1)
    if tensor.is_floating_point():
        noise = (0.02 * torch.randn(NOISE, generator=generator)).to(tensor.dtype)
    else:
        size = torch.iinfo(tensor.dtype)
        noise = torch.randint(size.min, size.max, (NOISE,), generator=generator, dtype=tensor.dtype)
    for start in range(0, len(flat), NOISE):
        part = flat[start : start + NOISE]
        part.copy_(noise[: len(part)])


def gguf_file(shape: dict[str, Any], kind: str, folder: Path) -> Path:
    """A GGUF of random weights, written once."""
    import gguf

    file = folder / f"{shape['hidden_size']}-{kind}.gguf"
    if file.exists():
        return file
    arch = shape["model_type"]
    unfinished = file.with_suffix(".part")
    writer = gguf.GGUFWriter(unfinished, arch, use_temp_file=False)
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    hidden, inner, size = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    queries, keys = shape["num_attention_heads"] * size, shape["num_key_value_heads"] * size

    def matrix(name: str, rows: int, columns: int, quantised: str | None = None) -> None:
        data, own = blocks(gguf, quantised or kind, rows, columns)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=own)

    def vector(name: str, length: int, value: float) -> None:
        writer.add_tensor(name, np.full(length, value, dtype=np.float32))

    matrix("token_embd", shape["vocab_size"], hidden)
    matrix("output", shape["vocab_size"], hidden, "Q6_K" if kind == "Q4_0" else None)
    vector("output_norm.weight", hidden, 1)
    for i in range(shape["num_hidden_layers"]):
        for name, rows, columns in [
            ("attn_q", queries, hidden),
            ("attn_k", keys, hidden),
            ("attn_v", keys, hidden),
            ("attn_output", hidden, queries),
            ("ffn_gate", inner, hidden),
            ("ffn_up", inner, hidden),
            ("ffn_down", hidden, inner),
        ]:
            matrix(f"blk.{i}.{name}", rows, columns)
            if shape["attention_bias"] and name in ("attn_q", "attn_k", "attn_v"):
                vector(f"blk.{i}.{name}.bias", rows, 0)
        for name in ("attn_norm", "ffn_norm"):
            vector(f"blk.{i}.{name}.weight", hidden, 1)
        if arch == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                vector(f"blk.{i}.{name}.weight", size, 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(file)
    return file


def blocks(gguf: Any, kind: str, rows: int, columns: int) -> tuple[Any, Any]:
    """Random blocks of one of llama.cpp's types, all with one scale, as bytes a row."""
    own = getattr(gguf.GGMLQuantizationType, kind)
    block, size = gguf.GGML_QUANT_SIZES[own]
    count = rows * columns // block
    noise = np.random.default_rng(0).integers(0, 256, (min(count, 1 << 16), size), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.002).tobytes(), dtype=np.uint8)
    if kind in ("Q4_0", "Q8_0"):
        noise[:, :2] = scale
    elif kind == "Q6_K":
        noise[:, -2:] = scale
        noise[:, -18:-2] = 4
    else:  # bf16 numbers: small ones
        noise = (0.02 * np.random.default_rng(0).standard_normal((len(noise), block))).astype(np.float32)
        noise = (noise.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(len(noise), -1)
    return np.resize(noise, (rows, columns // block * size)), own


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sizes(model: Any) -> dict[str, int]:
    """Bytes of a network's weights, by name."""
    from denken.model.compressed import CompressedLinear

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, CompressedLinear)}
    return {name: _bytes(p) for name, p in model.named_parameters()} | {n: x.product.bytes for n, x in layers.items()}


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def work(name: str, shape: str, streams: int, threads: int, folder: Path) -> None:
    """A contestant: takes tasks as lines of JSON and answers each with a line."""
    kind, _, rest = name.partition(" ")
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints
    subject = KINDS[kind](SHAPES[shape], rest, threads, folder, streams)
    told = {"version": subject.version, "bytes": subject.bytes, "read": subject.read, "taken": subject.taken}
    print(json.dumps(told), file=said, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        started = time.perf_counter()
        made = getattr(subject, task["do"])(task["what"])
        seconds = getattr(subject, "took", None) or time.perf_counter() - started
        answer = {"seconds": seconds, "made": made, "resident": resident()}
        print(json.dumps(answer), file=said, flush=True)
    if isinstance(subject, Answers):
        subject.close()


class Contestant:
    """The other end of `work`."""

    def __init__(self, name: str, shape: str, streams: int, threads: int, folder: Path) -> None:
        command = [
            sys.executable,
            __file__,
            "--work",
            name,
            shape,
            str(streams),
            "--threads",
            str(threads),
            "--folder",
            str(folder),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.told = self._answer()

    def ask(self, do: str, what: Any) -> float:
        assert self.process.stdin is not None
        print(json.dumps({"do": do, "what": what}), file=self.process.stdin, flush=True)
        answer = self._answer()
        self.resident, self.made = answer["resident"], answer["made"]
        return float(answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A contestant ended early: {self.process.args}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def contestant(name: str, shape: str, streams: int, threads: int, folder: Path) -> Iterator[Contestant]:
    found = Contestant(name, shape, streams, threads, folder)
    try:
        yield found
    finally:
        # Nothing more to do: then it ends by itself, with what it has started.
        assert found.process.stdin is not None
        found.process.stdin.close()
        try:
            found.process.wait(30)
        except subprocess.TimeoutExpired:
            found.process.kill()


def measure(name: str, row: Row, rounds: int, threads: int, folder: Path, say: Console) -> dict[str, Any]:
    """Tokens a second of every contestant by round, and what they say of themselves."""
    threads = row.threads or threads
    torch.set_num_threads(threads)
    speeds: dict[str, list[float]] = {}
    bandwidths: dict[str, list[float]] = {}
    told: dict[str, dict[str, Any]] = {}
    streams = max(row.streams, 1)
    prompts = [[(7 * i + 13 * j) % 1000 + 3 for i in range(row.prompt)] for j in range(streams)]
    with ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for peer in (*row.ours, *row.peers):
            if not installed(peer):
                say.print(f"{name}: {peer} is not installed and left out")
                continue
            say.print(f"{name}: {peer} starts")
            running[peer] = stack.enter_context(contestant(peer, row.shape, streams, threads, folder))
            if row.does == "decode":
                running[peer].ask("start", prompts)
                running[peer].ask("decode", row.steps)
            elif row.does != "fill":
                running[peer].ask(row.does, {"prefill": prompts[0], "answer": 0}[row.does])
            told[peer] = running[peer].told
        for round_ in range(1, rounds + 1):
            for peer, one in running.items():
                what = {"decode": row.steps, "prefill": prompts[0], "answer": round_, "fill": (prompts, row.steps)}
                reads = bool(row.streams == 1 and one.told["read"] > NEAR)
                before = doctor.bandwidth() if reads else 0.0
                seconds = one.ask(row.does, what[row.does])
                if reads:
                    bandwidths.setdefault(peer, []).append((before + doctor.bandwidth()) / 2)
                made = {"prefill": row.prompt, "decode": streams * row.steps}.get(row.does, 0)
                speed = one.made if row.does == "fill" else (one.made or made) / seconds
                speeds.setdefault(peer, []).append(speed)
                told[peer]["resident"] = one.resident
    found = {"row": name, "speeds": speeds, "bandwidths": bandwidths, "told": told, "threads": threads}
    return found | {"date": date.today().isoformat()}


def installed(name: str) -> bool:
    from importlib.util import find_spec

    needs = {"llama.cpp": ("llama_cpp", "gguf"), "transformers": ("transformers",)}
    return all(find_spec(module) is not None for module in needs.get(name.partition(" ")[0], ()))


def ratios(found: dict[str, Any], peers: tuple[str, ...]) -> dict[str, float]:
    """Of each of ours: the median, over rounds, of its speed over the best of these peers'."""
    speeds = found["speeds"]
    theirs = [name for name in peers if name in speeds]
    if not theirs:
        return {} if peers else {name: statistics.median(found) for name, found in speeds.items()}
    best = [max(speeds[name][i] for name in theirs) for i in range(len(speeds[theirs[0]]))]
    ours = [name for name in speeds if name.startswith("denken") and name not in theirs]
    return {n: statistics.median(a / b for a, b in zip(speeds[n], best, strict=True)) for n in ours}


def shares(found: dict[str, Any]) -> dict[str, float]:
    """How much of the bandwidth a contestant's weights took: the median of its rounds."""
    return {
        name: statistics.median(
            found["told"][name]["read"] * speed / bandwidth
            for speed, bandwidth in zip(found["speeds"][name], bandwidths, strict=True)
        )
        for name, bandwidths in found["bandwidths"].items()
    }


def show(results: list[dict[str, Any]]) -> None:
    console = Console(width=120)
    table = Table("row", "bar", "ratio", "denken, tokens/s", "peers, tokens/s", "read, of bandwidth", "memory")
    for found in results:
        row = ROWS[found["row"]]
        of = ratios(found, HELD_TO.get(found["row"], row.peers))
        medians = {name: statistics.median(speed) for name, speed in found["speeds"].items()}

        def listed(names: tuple[str, ...], medians: dict[str, float] = medians) -> str:
            return "\n".join(f"{name.partition(' ')[2]}: {medians[name]:,.1f}" for name in names if name in medians)

        reads, memory = [], []
        for name in row.ours:
            told = found["told"].get(name)
            if name in (read := shares(found)):
                reads.append(f"{read[name]:.2f}")
            if told and told["bytes"]:
                memory.append(f"{told['taken'] / told['bytes']:.2f}")
        table.add_row(
            found["row"],
            f"{row.bar}" if row.peers else f"<= {row.bar}",
            "\n".join(f"{ratio:.2f}" for ratio in of.values()) or "-",
            listed(row.ours) if row.peers else "",
            "\n".join(f"{name}: {medians[name]:,.1f}" for name in row.peers if name in medians),
            "\n".join(reads),
            "\n".join(memory),
        )
    versions = sorted({told["version"] for found in results for told in found["told"].values()})
    dates = sorted({found["date"] for found in results})
    console.print(f"{', '.join(versions)}; {platform.machine()}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}")
    seen = [value for each in results for values in each["bandwidths"].values() for value in values]
    if seen:
        console.print(f"bandwidth in these rows: {min(seen) / 1e9:.0f} to {max(seen) / 1e9:.0f} GB/s")
    console.print("memory: taken after loading, of the weights' bytes")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/engine.jsonl"), help="a line a row, added as it is done")
    parser.add_argument("--folder", type=Path, help="where files for llama.cpp lie; a temporary folder if absent")
    parser.add_argument("--neighbour", action="store_true", help="beside a process that keeps a core busy")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        name, shape, streams = given.work
        return work(name, shape, int(streams), given.threads, given.folder)
    if given.list:
        return print("\n".join(ROWS))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    results = [json.loads(line) for line in lines]
    say = Console(stderr=True)
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if given.neighbour:
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        for name in given.rows:
            if any(found["row"] == name for found in results):
                continue
            results.append(measure(name, ROWS[name], given.rounds, given.threads, folder, say))
            with given.out.open("a", encoding="utf-8") as file:
                print(json.dumps(results[-1]), file=file)
    shown = [found for found in results if found["row"] in given.rows]
    show(sorted(shown, key=lambda found: list(ROWS).index(found["row"])))


if __name__ == "__main__":
    main()
