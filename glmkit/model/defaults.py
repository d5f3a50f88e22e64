"""What a model is by default: on one device, in which dtype; and the dtypes that weights may have."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import DTypeLike

from glmkit.errors import ConfigError
from glmkit.sharding import MESH_AXES, platform_of

_WEIGHT_DTYPES = ("bfloat16", "float16", "float32", "float64")


def single_device_mesh() -> Mesh:
    """The mesh of one device: explicit axes of size one, so that one device and many share one code path."""
    return jax.make_mesh((1,) * len(MESH_AXES), MESH_AXES, devices=jax.devices()[:1])


def default_dtype(mesh: Mesh | AbstractMesh | None = None) -> DTypeLike:
    """bfloat16 on accelerators; float32 on CPU, where products in bfloat16 are slower. By default of one device."""
    return jnp.float32 if platform_of(mesh or single_device_mesh()) == "cpu" else jnp.bfloat16


def floating_dtype(dtype: DTypeLike) -> np.dtype:
    """A dtype for weights: bfloat16, float16, float32, or float64 where JAX has it switched on.

    Raises `ConfigError` naming any other.
    """
    try:
        known = jnp.dtype(dtype)
    except TypeError:
        known = None
    if known is None or known.name not in _WEIGHT_DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; expected one of {', '.join(_WEIGHT_DTYPES)}")
    if known == jnp.float64 and not jax.config.jax_enable_x64:
        raise ConfigError(
            'dtype is float64, which JAX takes for float32 until jax.config.update("jax_enable_x64", True)'
        )
    return known
