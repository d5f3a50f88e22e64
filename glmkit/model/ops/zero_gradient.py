"""A gradient of zeros for arrays that a result does not depend on."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float


@jax.custom_vjp
def zero_gradient(x: Float[Array, "*X"], unused: Sequence[jax.Array]) -> Float[Array, "*X"]:
    """`x`, as if it depended on `unused`, with a derivative of zero.

    Outside `jax.jit`, JAX cannot make the gradient of an argument that a compiled function does not depend on when the
    argument's sharding is explicit: `jax.grad(loss)(model)` would raise for whatever the loss leaves out.
    """
    return x


# Not zeros_like: for a sum with a constant, JAX 0.12 loses the explicit sharding of a gradient on one device.
zero_gradient.defvjp(lambda x, unused: (x, unused), lambda unused, dx: (dx, [array * 0 for array in unused]))
