"""Compiled programs: made side by side when first needed, and kept on the disk for the next process.

JAX's own compilation cache keeps what XLA made; finding it there again takes a trace and a lowering, which for a small
model take longer than all else. Here the finished program is kept, under a digest of all that it was made from.
"""

import hashlib
import os
import pickle
import platform
import secrets
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.sharding import Mesh

from glmkit.engine.live_code import ForeignCode, live_code_digest
from glmkit.model.ops.attention import kernels
from glmkit.model.ops.grouped_matmul import backend
from glmkit.resources import program_cache_dir
from glmkit.sharding import platform_of

Arguments = tuple[Any, ...]  # of the function: pytrees of arrays
_CODE = ("glmkit.config", "glmkit.engine", "glmkit.model", "glmkit.sharding")
_SETTINGS = "XLA_FLAGS", "LIBTPU_INIT_ARGS"
_KEPT_DAYS = 30
_MAKING = threading.Lock()  # engines make programs in turn: JAX's cache is switched off meanwhile, for all of them


class Programs:
    """The compiled variants of a function that runs a model; its arguments hold the model's leaves, in some order.

    `closed_over` says what else the function does what it does by, besides its code and its arguments.
    Programs are read from and written to `resources.program_cache_dir()`. Those of a model with modules from elsewhere,
    or of a glmkit with functions replaced, are not: what such code does cannot be told by a digest of glmkit.
    """

    def __init__(self, function: jax.stages.Wrapped, model: nnx.Module, closed_over: str = ""):
        leaves, structure = jax.tree.flatten(model)
        self._function = function
        self._computes = f"{function.__module__}.{function.__qualname__} {closed_over} {structure}"
        self._modules = {type(module) for _, module in nnx.iter_modules(model)}
        self._mesh: Mesh = leaves[0].sharding.mesh
        self._ready: dict[Hashable, jax.stages.Compiled] = {}

    @property
    def count(self) -> int:
        """How many programs there are."""
        return len(self._ready)

    def prepared(self, calls: Mapping[Hashable, Arguments]) -> dict[Hashable, jax.stages.Compiled]:
        """A program for each of these calls, by its name; those that are missing are made at the same time.

        Calls of one name differ in the values of their arguments only. Nothing is computed.
        """
        configuration = _configuration()
        missing = {name: call for name, call in calls.items() if (name, configuration) not in self._ready}
        if missing:
            with _MAKING:
                made = self._made(missing, configuration)
            self._ready |= {(name, configuration): program for name, program in made.items()}
        return {name: self._ready[name, configuration] for name in calls}

    def _made(self, calls: Mapping[Hashable, Arguments], configuration: str) -> dict[Hashable, jax.stages.Compiled]:
        """Programs from the disk where they are kept; the others are traced one by one, while those before compile."""
        folder, code = program_cache_dir(), self._code()
        _TRACES.are_of(code)
        if folder is None or code is None or jax.process_count() > 1:
            return _in_parallel((name, self._function.lower(*call).compile) for name, call in calls.items())
        made_from = (_machine(self._mesh), configuration, code, self._computes)
        paths = {name: folder / _digest(*made_from, _types(call)) for name, call in calls.items()}
        programs = {name: program for name, path in paths.items() if (program := _LOADED.get(path)) is not None}
        kept = {
            name: content
            for name, path in paths.items()
            if name not in programs and (content := _read(path)) is not None
        }
        devices = list(self._mesh.devices.flat)
        programs |= _in_parallel(
            (name, partial(deserialize_and_load, *kept[name], execution_devices=devices)) for name in kept
        )
        if len(programs) < len(calls):
            with _without_jax_cache():
                compiled = _in_parallel(
                    (name, self._function.lower(*call).compile) for name, call in calls.items() if name not in programs
                )
            for name, program in compiled.items():  # `serialize` beside a compilation has crashed the process
                _keep(program, paths[name])
            programs |= compiled
        for name, program in programs.items():
            _LOADED.put(paths[name], program)
        return programs

    def _code(self) -> str | None:
        """A digest of the code that runs the model; None where it is not all glmkit's."""
        platform = platform_of(self._mesh)
        backend(platform)  # imports its module, whose code counts too
        kernels(platform)
        try:
            return live_code_digest(_CODE, self._modules)
        except ForeignCode:
            return None


class _Traces:
    """Which code the traces are of that JAX keeps in this process."""

    def __init__(self):
        self._code: str | None = None

    def are_of(self, code: str | None) -> None:
        """Drop them if glmkit's code has changed since: they would give the old program under the new name."""
        if self._code is not None and (code is None or code != self._code):
            jax.clear_caches()
        self._code = code or "foreign"


_TRACES = _Traces()


class _Loaded:
    """The programs last used in this process, by what they were made from: another model of the same shape has them."""

    def __init__(self, most: int = 32):
        self._programs: OrderedDict[Path, jax.stages.Compiled] = OrderedDict()
        self._most = most

    def get(self, made_from: Path) -> jax.stages.Compiled | None:
        return self._programs.get(made_from)

    def put(self, made_from: Path, program: jax.stages.Compiled) -> None:
        self._programs[made_from] = program
        self._programs.move_to_end(made_from)
        while len(self._programs) > self._most:
            self._programs.popitem(last=False)


_LOADED = _Loaded()


def _in_parallel(
    makers: Iterable[tuple[Hashable, Callable[[], jax.stages.Compiled]]],
) -> dict[Hashable, jax.stages.Compiled]:
    """What each of them makes, begun as they come. XLA reads and compiles without holding Python's lock."""
    with ThreadPoolExecutor() as pool:
        jobs = {name: pool.submit(maker) for name, maker in makers}
    return {name: job.result() for name, job in jobs.items()}


@contextmanager
def _without_jax_cache() -> Iterator[None]:
    """Compile anew in the block: a program that XLA took from JAX's cache comes out of `serialize` with parts missing.

    JAX looks up once whether its cache is in use, hence the resets.
    """
    used = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", used)
        compilation_cache.reset_cache()


def _keep(program: jax.stages.Compiled, path: Path) -> None:
    try:
        kept = pickle.dumps(serialize(program))
    except (ValueError, jax.errors.JaxRuntimeError):  # a backend that cannot
        return
    try:
        _write(path, kept)
    except OSError as error:
        warnings.warn(f"a compiled program was not kept in {path.parent}: {error.strerror}", stacklevel=1)


def _write(path: Path, kept: bytes) -> None:
    """Write a program under a digest of its own, whole or not at all, and drop those that were long not used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        partial.write_bytes(hashlib.sha256(kept).digest() + kept)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    oldest = time.time() - _KEPT_DAYS * 86400
    for other in path.parent.iterdir():
        with suppress(FileNotFoundError):  # another process was quicker
            if other.stat().st_mtime < oldest:
                other.unlink()


def _read(path: Path) -> tuple[Any, ...] | None:
    """What `serialize` gave; None where there is no such file or not all of it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):  # somebody else's
        os.utime(path)
    digest, kept = content[:32], content[32:]
    return pickle.loads(kept) if digest == hashlib.sha256(kept).digest() else None


def _configuration() -> str:
    """JAX's settings here and now, as a program depends on them; a `with` block around the caller counts."""
    names = (name for name in jax.config.values if "cache" not in name)
    return repr([(name, getattr(jax.config, name, None)) for name in names])


def _machine(mesh: Mesh) -> str:
    """Versions, devices and the processor, whose instructions a program for the CPU is made of."""
    versions = [module.__version__ for module in (jax, jaxlib, flax)]
    devices = [(d.id, d.platform, d.device_kind, d.client.platform_version) for d in mesh.devices.flat]
    settings = [os.environ.get(name) for name in _SETTINGS]
    return repr((sys.version, versions, devices, settings, _processor(), os.cpu_count()))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"


def _types(call: Arguments) -> str:
    leaves, structure = jax.tree.flatten(call)
    return repr((structure, [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves]))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
