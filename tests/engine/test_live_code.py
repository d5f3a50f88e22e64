"""The digest of the code in use: the same in every process, and another as soon as the code does something else."""

import functools
import os
import subprocess
import sys
import types
from unittest import mock

import jax
import pytest

from glmkit.engine.live_code import ForeignCode, live_code_digest
from glmkit.model import moe
from glmkit.model.layers import RMSNorm

PACKAGES = ("glmkit.model", "glmkit.sharding")


def module_of(source: str, monkeypatch) -> str:
    """The digest of a package that holds `source`."""
    name = "glmkit.sample"
    module = types.ModuleType(name)
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return live_code_digest((name,))


BASE = """
LIMIT = 3
NAMES = frozenset({"one", "two", "three"})
def double(x, times=2):
    return [x * times for _ in NAMES if x in {"a", "b", "c"}]
class Layer:
    width = 4
    @property
    def area(self):
        return self.width**2
    @classmethod
    def of(cls, width):
        return cls()
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ('"three"})', '"four"})'),
        ("x * times", "x + times"),
        ("times=2", "times=3"),
        ('"c"', '"d"'),
        ("width = 4", "width = 5"),
        ("width**2", "width**3"),
        ("return cls()", "return cls"),
        ("class Layer", "class Block"),
    ],
)
def test_any_change_of_code_changes_it(old, new, monkeypatch):
    assert old in BASE
    assert module_of(BASE, monkeypatch) != module_of(BASE.replace(old, new), monkeypatch)


def test_comments_and_places_do_not(monkeypatch):
    assert module_of(BASE, monkeypatch) == module_of("# as before\n\n" + BASE, monkeypatch)


def test_it_is_the_same_in_every_process():
    program = f"import glmkit.model; from glmkit.engine.live_code import live_code_digest as d; print(d({PACKAGES}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_function_of_glmkit_in_another_place_changes_it(monkeypatch):
    before = live_code_digest(PACKAGES)
    monkeypatch.setattr(moe, "dispatch", moe.apply_experts)
    assert live_code_digest(PACKAGES) != before


def test_a_wrapper_from_elsewhere_is_named_whatever_it_claims_to_be(monkeypatch):
    @functools.wraps(RMSNorm.__call__)
    def wrapped(*arguments):
        return None

    monkeypatch.setattr(RMSNorm, "__call__", wrapped)
    with pytest.raises(ForeignCode, match=r"RMSNorm\.__call__"):
        live_code_digest(PACKAGES)


def test_what_a_partial_holds_counts(monkeypatch):
    source = "import functools\nrope = functools.partial(pow, 2, exp=%d)"
    assert module_of(source % 1, monkeypatch) != module_of(source % 2, monkeypatch)


@pytest.mark.parametrize(
    "stand_in", [lambda x: x, functools.partial(lambda a, x: x, 3), mock.Mock(), jax.jit(lambda x: x)]
)
@pytest.mark.parametrize("place", [(moe, "dispatch"), (jax.nn, "silu"), (jax.lax, "top_k")])
def test_a_stand_in_is_named_in_glmkit_and_in_what_it_uses_of_jax(place, stand_in, monkeypatch):
    live_code_digest(PACKAGES)
    monkeypatch.setattr(*place, stand_in)
    with pytest.raises(ForeignCode, match=place[1]):
        live_code_digest(PACKAGES)


def test_what_a_closure_holds_counts(monkeypatch):
    source = "def make(n):\n    def add(x):\n        return x + n\n    return add\nadd = make(%d)"
    assert module_of(source % 1, monkeypatch) != module_of(source % 2, monkeypatch)


def test_code_from_elsewhere_is_named(monkeypatch):
    monkeypatch.setattr(moe, "dispatch", test_comments_and_places_do_not)
    with pytest.raises(ForeignCode, match=r"glmkit\.model\.moe\.dispatch is .*test_comments_and_places_do_not"):
        live_code_digest(PACKAGES)


def test_a_class_from_elsewhere_is_named():
    class Mine:
        pass

    with pytest.raises(ForeignCode, match="Mine"):
        live_code_digest(PACKAGES, [Mine])
