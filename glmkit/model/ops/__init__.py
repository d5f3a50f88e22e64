"""The hot operations of the network. One with several backends is a folder: a readable reference, a file for each, and
one shared test.

Operations see local arrays only; whoever calls them has already entered `jax.shard_map`.
"""
