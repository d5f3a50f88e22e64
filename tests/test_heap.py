"""The heap that steps compute in: kept from one to the next, and given back."""

import subprocess
import sys

import pytest

STEPS = """
import resource
import glmkit as gk
from glmkit import heap
gk.GLM  # imports the network, before JAX starts
import jax, jax.numpy as jnp, psutil

x = jnp.ones(2**24)
step = jax.jit(lambda x: jnp.flip(jnp.tanh(x)).reshape(16, -1).cumsum(1).sum())

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min([faults() for _ in range(30)][-5:]))  # the heap grows as long as what is freed lies apart
process = psutil.Process()
kept = process.memory_info().rss
heap.give_back()
print(kept - process.memory_info().rss)
"""
ARRAY = 2**24 * 4  # bytes; a step has several of this size


def measured() -> tuple[int, int]:
    """In a process of its own: pages that a step takes from the system, and bytes that `give_back` returns."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    faults, returned = map(int, done.stdout.split())
    return faults, returned


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")


def test_a_step_computes_in_the_memory_of_the_step_before_until_it_is_given_back():
    faults, returned = measured()
    assert faults < ARRAY / 4096 / 10  # a tenth of one array: what Python and JAX allocate meanwhile
    assert returned > ARRAY / 2


def test_it_can_be_left_to_the_system(monkeypatch):
    monkeypatch.setenv("GLMKIT_KEEP_HEAP", "0")
    faults, _ = measured()
    assert faults > ARRAY / 4096 / 2
