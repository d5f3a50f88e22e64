"""The tree of prefixes: whatever comes and goes, no page is lost, had twice, or taken from whom it is lent to."""

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glmkit.engine.prefix import Lease, OutOfPages, PrefixTree

SIZE = 4


def held(tree: PrefixTree, tokens) -> Lease:
    """A lease on pages for all the tokens, the full ones of which are known to others."""
    lease = tree.lease(tokens)
    while len(lease.pages) * SIZE < len(tokens):
        tree.extend(lease)
    publish(tree, lease, tokens)
    return lease


def publish(tree: PrefixTree, lease: Lease, tokens) -> None:
    tokens = list(tokens)
    while lease.own and (start := len(lease.shared) * SIZE) + SIZE <= len(tokens):
        if not tree.publish(lease, tokens[start : start + SIZE]):
            break


def test_a_prompt_that_begins_alike_shares_full_pages_and_computes_its_last_token():
    tree = PrefixTree(8, SIZE)
    first = held(tree, list(range(10)))
    pages = first.pages
    assert tree.known(list(range(12))) == 2  # while it runs
    tree.end(first)
    assert (tree.cached, tree.free) == (2, 6)
    assert tree.lease(list(range(12))).pages == pages[:2]
    assert tree.lease(list(range(8))).pages == pages[:1]  # the eighth token is to be computed
    assert tree.lease([0, 1, 2, 3, 9, 9, 9, 9, 9]).pages == pages[:1]
    assert tree.lease([1, 2, 3, 4, 5]).pages == []


def test_the_oldest_leaf_goes_first_and_nothing_that_is_read():
    tree = PrefixTree(3, SIZE)
    for start in (0, 100, 200):
        tree.end(held(tree, range(start, start + 4)))
    reader = tree.lease(range(5))  # the first is used again
    assert len(reader.shared) == 1
    writer = tree.lease([7] * 20)
    tree.extend(writer)
    assert not tree.lease(range(100, 105)).shared
    assert tree.lease(range(200, 205)).shared
    with pytest.raises(OutOfPages):
        tree.extend(writer)


def test_there_is_room_for_what_would_be_shared_and_for_what_is_not_read():
    tree = PrefixTree(4, SIZE)
    tree.end(held(tree, range(8)))
    tree.lease(range(5))  # reads the first page
    assert (tree.room(range(12)), tree.room([9] * 12)) == (4, 3)


def test_what_was_forgotten_is_free_when_its_last_reader_ends():
    tree = PrefixTree(4, SIZE)
    tree.end(held(tree, range(8)))
    reader = tree.lease(range(9))
    tree.extend(reader)
    tree.clear()
    assert (tree.cached, tree.free) == (0, 1)
    assert not tree.publish(reader, range(8, 12))
    tree.end(reader)
    assert (tree.cached, tree.free) == (0, 4)


def test_two_that_compute_the_same_end_up_with_one_page():
    tree = PrefixTree(4, SIZE)
    one, two = tree.lease(range(6)), tree.lease(range(6))
    for lease in (one, two):
        tree.extend(lease)
        tree.publish(lease, range(4))
    assert one.pages == two.pages
    assert (tree.cached, tree.free) == (1, 3)


def test_equal_tokens_of_different_scopes_share_nothing():
    tree = PrefixTree(4, SIZE)
    lease = tree.lease(range(6), "ablated")
    tree.extend(lease)
    tree.publish(lease, range(4))
    assert tree.known(range(6)) == 0
    assert tree.known(range(6), "ablated") == 1
    assert len(list(tree.nodes("ablated"))) == 1
    assert not list(tree.nodes(None))


def test_a_scope_without_pages_and_readers_is_forgotten():
    """Thousands of plans in a sweep leave nothing behind."""
    tree = PrefixTree(2, SIZE)
    for _ in range(2):  # whose prompts are too short for a full page
        one, other = tree.lease(range(3), "ablated"), tree.lease(range(3), "ablated")
        tree.end(one)
        assert tree.scopes == ("ablated",)
        tree.end(other)
        assert tree.scopes == ()
    kept = tree.lease(range(6), "steered")
    tree.extend(kept)
    tree.publish(kept, range(4))
    tree.end(kept)
    assert tree.scopes == ("steered",)
    long = tree.lease(range(9))
    for _ in range(2):
        tree.extend(long)  # the second takes the page of what was steered
    assert tree.scopes == (None,)


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
        known = self.tree.known(tokens)
        lease = self.tree.lease(tokens)
        assert len(lease) == known
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
    def publish(self, data):
        publish(self.tree, *data.draw(st.sampled_from(self.running)))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        number = data.draw(st.integers(0, len(self.running) - 1))
        self.tree.end(self.running.pop(number)[0])

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
        kept = {node.page for node in self.tree.nodes()}
        idle = {node.page for node in self.tree.nodes() if not node.leases}
        free = self.tree._free
        assert len(free) == len(set(free))
        assert len(own) == len(set(own))
        assert not set(own) & (lent | kept | set(free))
        assert not set(free) & (lent | kept)
        assert (self.tree.cached, self.tree.available) == (len(kept), len(free) + len(idle))
        assert {*own, *free} | lent | kept == set(range(self.tree.count))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
