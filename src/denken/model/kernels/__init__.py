"""What PyTorch does in many passes over memory, done in one: native code for x86 processors, used where it can be.

The sources (C++ without any header of PyTorch's) lie beside this file. They are compiled on this machine, for this
machine, when they are first needed (`build.py`): a second or two, once. Without a compiler, on another processor or
with `DENKEN_KERNELS=none` in the environment every caller takes the way through PyTorch that it has anyway, and gets
the same numbers up to rounding.

| file | kernels | callers |
|---|---|---|
| `products.py` | products of matrices in fp32 | `layers.py`, `head.py`, `denken.engine.native` |
| `elementwise.py` | RMS norm, SwiGLU, rotary positions | `layers.py`, `rope.py`, `denken.engine.native` |
| `attention.py` | attention for learning, reading and decoding | `denken.train.attend`, `denken.engine.paged` |
| `bf16.py` | products with bf16 matrices | `layers.py`, `denken.engine.products`, `denken.engine.native` |
| `decode.py` | all layers for a token of each sequence | `denken.engine.native`, `denken.engine.sparse` |
| `experts.py` | who is chosen of a mixture's experts, and what these say | `moe.py` |
| `integers.py` | products with weights in int8 and int4 | quantised layers, `denken.engine.products` |
| `softmax.py` | log-probabilities and draws over a vocabulary | `head.py`, `denken.engine.sampler` |

Promises, which the tests keep: a row's numbers depend neither on the rows beside it nor on the number of threads, and
sampler and trainer run the same code. Not covered: other devices, other types than fp32 and bf16, double backwards,
tracing by `torch.compile`.
"""
