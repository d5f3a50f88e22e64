"""The hot operations of the network, one folder each: a readable reference, a file per backend, one shared test.

Operations see local arrays only; whoever calls them has already entered `jax.shard_map`.
"""
