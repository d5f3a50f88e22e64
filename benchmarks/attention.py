"""Whether an accelerator's attention kernels compute what is defined, and how fast: `python benchmarks/attention.py`.

The shapes are those of one layer of GLM-4.5 on one device: 96 query heads, 8 key heads, 128 channels, bfloat16. Errors
are the largest difference from the definition in float32, relative to its largest value; "plain" is what glmkit
computes where there is no kernel. The last line is an object. `benchmarks/gpu.py` runs this too.
"""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from glmkit.model.ops.attention import attention, attention_blocked, attention_cached, kernels
from glmkit.model.ops.attention.blocked import PAGE

KV, GROUP, CHANNELS = 8, 12, 128
DECODES = [(rows, context) for context in (4096, 32768) for rows in (1, 8, 32)]
CHUNK, PROMPT = 1024, 8192
WHOLE = 4096  # tokens of a packed sequence: more, and the definition's scores take all memory
REPEATS = 20


def seconds(attend: Callable, q: jax.Array, *rest: jax.Array) -> float:
    """Of one call, on average over many of which each takes the result of the one before: on the device alone."""

    @jax.jit
    def many(q, *rest):
        return jax.lax.fori_loop(0, REPEATS, lambda _, q: attend(q, *rest), q)

    jax.block_until_ready(many(q, *rest))
    start = time.perf_counter()
    jax.block_until_ready(many(q, *rest))
    return (time.perf_counter() - start) / REPEATS


def compared(kernel: Callable, plain: Callable, q: jax.Array, *rest: jax.Array) -> dict[str, float]:
    """Errors and times of both."""
    with jax.default_matmul_precision("highest"):
        exact = np.asarray(jax.jit(plain)(*(x.astype(jnp.float32) if x.dtype == q.dtype else x for x in (q, *rest))))

    def error(attend: Callable) -> float:
        return float(np.abs(np.asarray(jax.jit(attend)(q, *rest), np.float32) - exact).max() / np.abs(exact).max())

    return {
        "kernel_error": error(kernel),
        "plain_error": error(plain),
        "kernel_us": round(1e6 * seconds(kernel, q, *rest), 1),
        "plain_us": round(1e6 * seconds(plain, q, *rest), 1),
    }


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)


def cached(rows: int, steps: int, context: int, platform: str) -> dict[str, float]:
    """The last `steps` tokens of rows that hold `context`, over pages in an order of their own."""
    per_row = context // PAGE
    table = np.random.default_rng(0).permutation(rows * per_row).reshape(rows, per_row).astype(np.int32)
    slots = np.tile(np.arange(context - steps, context, dtype=np.int32), (rows, 1))
    pages = (normal(seed, rows * per_row, KV, PAGE, CHANNELS) for seed in (1, 2))
    q, kernel = normal(0, rows, steps, KV, GROUP, CHANNELS), partial(attention_cached, platform=platform)
    found = compared(kernel, attention_blocked, q, *pages, jnp.asarray(table), jnp.asarray(slots))
    read = 2 * rows * context * KV * CHANNELS * q.dtype.itemsize
    return found | {"kernel_gb_per_s": round(read / found["kernel_us"] / 1e3, 1)}


def whole(platform: str, backward: bool) -> dict[str, float | str]:
    """A row of packed examples; with `backward` the gradient with respect to the queries, and all it takes."""
    q = normal(0, 1, WHOLE, KV, GROUP, CHANNELS)
    k, v = (normal(seed, 1, WHOLE, KV, CHANNELS) for seed in (1, 2))
    segments = jnp.asarray(np.arange(WHOLE, dtype=np.int32)[None] // 1500)

    def derived(attend: Callable) -> Callable:
        if not backward:
            return attend

        def gradient(q, k, v, segments):
            dq, dk, dv = jax.grad(lambda *x: (attend(*x, segments).astype(jnp.float32) ** 2).sum(), (0, 1, 2))(q, k, v)
            return dq + (dk.mean() + dv.mean()).astype(dq.dtype)  # so that none of them is left out

        return gradient

    plain = derived(partial(attention, platform=None))
    found = compared(derived(partial(attention, platform=platform)), plain, q, k, v, segments)
    if platform == "gpu":
        try:
            found["cudnn_us"] = round(1e6 * seconds(derived(cudnn), q, k, v, segments), 1)
        except Exception as error:  # it asks for versions of its own, and is only something to compare with
            found["cudnn"] = str(error).splitlines()[0]
    return found


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array) -> jax.Array:
    """JAX's attention by cuDNN, which is told of segments by a mask of all pairs."""
    mask = (segments[:, :, None] == segments[:, None, :])[:, None]
    queries = q.reshape(*q.shape[:2], -1, q.shape[-1])
    out = jax.nn.dot_product_attention(queries, k, v, mask=mask, is_causal=True, implementation="cudnn")
    return out.reshape(q.shape)


def measured() -> Iterator[tuple[str, dict]]:
    """All of it on JAX's default platform; nothing where that has no kernels."""
    platform = jax.default_backend()
    if not kernels(platform):
        return
    for rows, context in DECODES:
        yield f"decode, {rows} x {context} tokens", cached(rows, 1, context, platform)
    yield f"the last {CHUNK} of a prompt of {PROMPT} tokens", cached(1, CHUNK, PROMPT, platform)
    yield f"packed sequence of {WHOLE} tokens", whole(platform, backward=False)
    yield f"packed sequence of {WHOLE} tokens, with gradient", whole(platform, backward=True)


if __name__ == "__main__":
    print(json.dumps(dict(measured())))
