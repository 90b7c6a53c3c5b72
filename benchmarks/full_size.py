"""A checkpoint of full size: how much memory loading takes, how long, and whether its logits are `transformers`'.

    python benchmarks/full_size.py                       # one file, as DeepSeek-R1-Distill-Qwen-1.5B is published
    python benchmarks/full_size.py --shard-bytes 1e9     # the same in shards

The configuration is DeepSeek-R1-Distill-Qwen-1.5B's, the weights are random, in bf16. Everything is measured in
processes of their own, one after the other. Memory is the peak of what was resident (VmHWM): what the process
allocated, its libraries, and pages of mapped files while they are mapped; the system's cache of files that are merely
read is not in it. With `--exact`, the logits of both sides are compared in fp32, too, which takes 8 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "rope_theta": 10000,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
    "use_sliding_window": False,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
}
BAR = 1.2
TOKENS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard-bytes", type=float, default=5e9, help="the largest file")
    parser.add_argument("--exact", action="store_true", help="hold both sides against fp32, too")
    parser.add_argument("--folder", type=Path, help="where the checkpoint lies, or is put; else a temporary folder")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args.folder)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = args.folder or Path(place) / "model"
        if not (folder / "config.json").is_file():
            make(folder, int(args.shard_bytes))
        measure(folder, exact=args.exact)


def make(folder: Path, shard_bytes: int) -> None:
    """Random numbers of a size at which every part matters, the same for every folder, tensor by tensor."""
    import torch

    from denken.model.checkpoint import blank, write
    from denken.model.config import ModelConfig

    model = blank(ModelConfig.from_hf(CONFIG))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}

    def read(name: str) -> torch.Tensor:
        noise = torch.empty(shapes[name], dtype=torch.bfloat16)
        noise.normal_(generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if "norm" in name:
            return noise.mul_(0.3).add_(1)
        return noise.mul_(0.2 if noise.dim() == 1 else 1.0 if "embed" in name else shapes[name][-1] ** -0.5)

    write(model, read, folder, dtype=torch.bfloat16, max_shard_bytes=shard_bytes)


def measure(folder: Path, *, exact: bool) -> None:
    """Prints what came of it."""
    files = sorted(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} file(s), {size:,} bytes")
    for name, step in (("denken", "load"), ("transformers", "load_theirs")):
        found = run(step, folder)
        peak, before = found["peak"], found["before"]
        print(
            f"{name}: loaded in {found['seconds']:.1f} s; peak {peak / 2**20:,.0f} MiB = {peak / size:.3f} x the files "
            f"(of which {before / 2**20:,.0f} MiB were there before: Python and its libraries)"
        )
        if name == "denken":
            print(f"at most {BAR} x: {'kept' if peak <= BAR * size else 'MISSED'}")
    ours, theirs = run("logits", folder), run("logits_theirs", folder)
    print(f"logits of {TOKENS} tokens: {compared(ours, theirs)}")
    if exact:
        truth = run("logits_theirs_exact", folder)
        print(f"denken in bf16 against fp32: {compared(ours, truth)}")
        print(f"transformers in bf16 against fp32: {compared(theirs, truth)}")
        print(f"both in fp32: {compared(run('logits_exact', folder), truth)}")


def run(step: str, folder: Path) -> dict[str, float]:
    """One step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(some: dict, others: dict) -> str:
    import torch

    a, b = (torch.load(found["logits"], weights_only=True) for found in (some, others))
    root = ((a - b).square().mean() / b.square().mean()).sqrt()
    same = (a.argmax(-1) == b.argmax(-1)).float().mean()
    return f"root mean square of the difference {root:.2g} of the logits', largest {(a - b).abs().max():.2g}, " + (
        f"likeliest token the same at {same:.1%}"
    )


def high_water() -> int:
    """The most memory that this process had resident, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def load(folder: Path) -> dict[str, float]:
    from denken.model import checkpoint

    before, began = high_water(), time.perf_counter()
    model = checkpoint.load(folder)
    seconds = time.perf_counter() - began
    assert str(model.head_weight.dtype) == "torch.bfloat16"
    return {"before": before, "seconds": seconds, "peak": high_water()}


def load_theirs(folder: Path) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    before, began = high_water(), time.perf_counter()
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return {"before": before, "seconds": time.perf_counter() - began, "peak": high_water()}


def logits(folder: Path, dtype: str = "bfloat16") -> dict[str, str]:
    import torch

    from denken.model import checkpoint

    model = checkpoint.load(folder, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        return kept(folder, f"ours-{dtype}", model(ids())[0])


def logits_exact(folder: Path) -> dict[str, str]:
    return logits(folder, "float32")


def logits_theirs(folder: Path, dtype: str = "bfloat16") -> dict[str, str]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        return kept(folder, f"theirs-{dtype}", model(ids()).logits[0])


def logits_theirs_exact(folder: Path) -> dict[str, str]:
    return logits_theirs(folder, "float32")


def ids():
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, CONFIG["vocab_size"], (1, TOKENS), generator=generator)


def kept(folder: Path, name: str, numbers) -> dict[str, str]:
    import torch

    place = folder / f".logits-{name}.pt"
    torch.save(numbers.float(), place)
    return {"logits": str(place)}


STEPS = {
    function.__name__: function
    for function in (load, load_theirs, logits, logits_theirs, logits_exact, logits_theirs_exact)
}


if __name__ == "__main__":
    main()
