"""What every test runs under: the CPU unless told otherwise, no network, and reproducible examples in CI.

Array shapes and dtypes are checked by the jaxtyping option in pyproject.toml.
"""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# Read when jax and huggingface_hub are first imported, hence set before anything else.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["HF_HUB_OFFLINE"] = "1"
# Most of the time of these tests is the compiler's, over programs that run for a moment: no optimisation, short vectors
# and, where XLA still has them, the emitters that are quicker than what they emit.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_prefer_vector_width=128",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
    ]
)

from hypothesis import settings

# Tracing makes many objects and few cycles: looking for those as often as Python does takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)

# A shell has what it runs in the background ignore Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Programs are kept from test to test and for all worker processes, and not beyond.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["GLMKIT_CACHE"] = tempfile.mkdtemp(prefix="glmkit-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{os.environ['GLMKIT_CACHE']}/xla"
    atexit.register(shutil.rmtree, os.environ["GLMKIT_CACHE"], ignore_errors=True)

# No deadline: the first example of a property may compile a program.
settings.register_profile("glmkit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("glmkit")


def pytest_runtest_teardown():
    """Drop what JAX has compiled before it takes all the memory mappings that Linux lets a process have.

    Each program takes about nine of 65,530, and XLA crashes where there is none left.
    """
    mappings = Path("/proc/self/maps")
    if "jax" in sys.modules and mappings.exists() and mappings.read_bytes().count(b"\n") > 30_000:
        sys.modules["jax"].clear_caches()
        gc.collect()
