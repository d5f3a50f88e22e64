"""The tree of prefixes: whatever comes and goes, no page is lost, had twice, or taken from whom it is lent to."""

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glmkit.engine.prefix import Lease, OutOfPages, PrefixTree

SIZE = 4


def held(tree: PrefixTree, tokens, upto: int | None = None) -> Lease:
    """A lease on pages for all the tokens."""
    lease = tree.lease(tokens)
    while len(lease.pages) * SIZE < len(tokens):
        tree.extend(lease)
    return lease


def test_a_prompt_that_begins_alike_shares_full_pages_and_computes_its_last_token():
    tree = PrefixTree(8, SIZE)
    first = held(tree, list(range(10)))
    pages = first.pages
    tree.end(first, list(range(10)))
    assert (tree.cached, tree.free) == (2, 6)
    assert tree.lease(list(range(12))).pages == pages[:2]
    assert tree.lease(list(range(8))).pages == pages[:1]  # the eighth token is to be computed
    assert tree.lease([0, 1, 2, 3, 9, 9, 9, 9, 9]).pages == pages[:1]
    assert tree.lease([1, 2, 3, 4, 5]).pages == []


def test_the_oldest_leaf_goes_first_and_nothing_that_is_read():
    tree = PrefixTree(3, SIZE)
    for start in (0, 100, 200):
        tree.end(held(tree, range(start, start + 4)), range(start, start + 4))
    reader = tree.lease(range(5))  # the first is used again
    assert len(reader.shared) == 1
    writer = tree.lease([7] * 20)
    tree.extend(writer)
    assert not tree.lease(range(100, 105)).shared
    assert tree.lease(range(200, 205)).shared
    with pytest.raises(OutOfPages):
        tree.extend(writer)


def test_what_was_forgotten_is_free_when_its_last_reader_ends():
    tree = PrefixTree(4, SIZE)
    tree.end(held(tree, range(8)), range(8))
    reader = tree.lease(range(9))
    tree.extend(reader)
    tree.clear()
    assert (tree.cached, tree.free) == (0, 1)
    tree.end(reader, range(12))
    assert (tree.cached, tree.free) == (0, 4)


def test_more_pages_are_new_ones():
    tree = PrefixTree(1, SIZE)
    lease = tree.lease([0])
    tree.extend(lease)
    tree.grow(3)
    tree.extend(lease)
    tree.extend(lease)
    assert sorted(lease.pages) == [0, 1, 2]


class Machine(RuleBasedStateMachine):
    """Requests over few tokens, so that they often begin alike."""

    @initialize(count=st.integers(3, 12))
    def begin(self, count):
        self.tree, self.running = PrefixTree(count, SIZE), []

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=20))
    def start(self, tokens):
        lease = self.tree.lease(tokens)
        # What a page is said to hold is what was written into it.
        assert [token for node in lease.shared for token in node.tokens] == tokens[: len(lease.shared) * SIZE]
        self.running.append((lease, tokens))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def write(self, data):
        lease, _ = data.draw(st.sampled_from(self.running))
        try:
            self.tree.extend(lease)
        except OutOfPages:
            assert not self.tree.free

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        number = data.draw(st.integers(0, len(self.running) - 1))
        lease, tokens = self.running.pop(number)
        self.tree.end(lease, tokens[: len(lease.pages) * SIZE])

    @rule()
    def forget(self):
        self.tree.clear()

    @rule(more=st.integers(0, 2))
    def grow(self, more):
        self.tree.grow(self.tree.count + more)

    @invariant()
    def every_page_is_somewhere_once(self):
        if not hasattr(self, "tree"):
            return
        own = [page for lease, _ in self.running for page in lease.own]
        lent = {node.page for lease, _ in self.running for node in lease.shared}
        kept = {node.page for node in self.tree._nodes()}
        free = self.tree._free
        assert len(free) == len(set(free))
        assert len(own) == len(set(own))
        assert not set(own) & (lent | kept | set(free))
        assert not set(free) & (lent | kept)
        assert {*own, *free} | lent | kept == set(range(self.tree.count))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
