"""Batches: packed whole, the same in any process, resumed at the exact example, and nothing dropped in silence."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from glmkit.errors import DataError
from glmkit.train.data import ReadAhead, TokenDataset, batches
from glmkit.train.examples import Example
from tiny import tokenizer

TEXTS = [{"text": "abcdefgh"[: 1 + n % 8] * (1 + n % 5)} for n in range(60)]


@pytest.fixture(scope="module")
def data() -> TokenDataset:
    return TokenDataset.encode(TEXTS, tokenizer(), 48)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=40),
    row=st.integers(24, 60),
    rows=st.integers(1, 5),
    seed=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_every_example_is_in_the_batches_once_and_whole(lengths, row, rows, seed, shuffle):
    examples = [
        Example(np.arange(100 * at, 100 * at + n, dtype=np.int32), (np.arange(n) + at) % 3 > 0)
        for at, n in enumerate(lengths)
    ]
    source, seen = TokenDataset(examples, None, ""), []
    for batch in batches(source, length=row, batch_size=rows, seed=seed, shuffle=shuffle):
        assert batch.tokens.shape == batch.learned.shape == batch.segment_ids.shape == (rows, row)
        assert not batch.learned[batch.segment_ids < 0].any()
        for tokens, learned, segments in zip(*batch, strict=True):
            own = [segments == segment for segment in range(segments.max() + 1)]
            assert all(np.diff(np.flatnonzero(places)).max(initial=1) == 1 for places in own)  # side by side
            seen += [(*tokens[places].tolist(), *learned[places].tolist()) for places in own]
    assert sorted(seen) == sorted((*each.tokens.tolist(), *each.learned.tolist()) for each in examples)


def test_the_order_is_the_seeds(data):
    def first(seed: int) -> np.ndarray:
        return next(batches(data, length=48, batch_size=4, seed=seed)).tokens

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()


def test_unshuffled_data_come_in_their_own_order():
    ordered = TokenDataset.encode([{"text": letter * 7} for letter in "hgfedcba"], tokenizer(), 8)
    rows = np.concatenate([batch.tokens for batch in batches(ordered, length=8, batch_size=1, shuffle=False)])
    np.testing.assert_array_equal(rows, [ordered[index]["tokens"] for index in range(8)])


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_stream_goes_on_at_the_exact_example(data, after):
    def stream():
        return batches(data, length=48, batch_size=2, epochs=None)

    whole, resumed = stream(), stream()
    for _ in range(after):
        next(whole)
    resumed.set_state(json.loads(json.dumps(whole.get_state())))
    for _ in range(12):  # past the end of the first epoch
        for expected, got in zip(next(whole), next(resumed), strict=True):
            np.testing.assert_array_equal(expected, got)


def test_what_was_read_ahead_comes_in_its_turn_and_is_before_the_state():
    def stream():
        return batches(ordered, length=8, batch_size=1, shuffle=False)

    ordered = TokenDataset.encode([{"text": letter * 7} for letter in "abcdef"], tokenizer(), 8)
    given, expected = ReadAhead(stream()), stream()
    for count in (0, 2, 1, 3):  # read ahead; then one is given
        given.read(count)
        state = json.loads(json.dumps(given.get_state()))
        np.testing.assert_array_equal(next(given).tokens, next(expected).tokens)
    given.read(9)  # than there are
    given.set_state(state)
    again = ReadAhead(stream())
    again.set_state(state)
    rest = [[batch.tokens for batch in iter(lambda it=it: next(it, None), None)] for it in (given, again)]
    np.testing.assert_array_equal(*rest)
    assert len(rest[0]) == 3


def test_a_source_that_fails_fails_when_its_batch_is_asked_for():
    class Torn(TokenDataset):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("torn")
            return super().__getitem__(index)

    ordered = Torn.encode([{"text": letter * 7} for letter in "abcd"], tokenizer(), 8)
    given = ReadAhead(batches(ordered, length=8, batch_size=1, shuffle=False))
    given.read(4)
    assert (next(given).tokens != next(given).tokens).any()
    with pytest.raises(OSError, match="torn"):
        next(given)


def test_what_is_too_long_is_split_or_dropped_and_said():
    chat = {"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": "y"}], "text": "z"}
    data = TokenDataset.encode([{"text": "a" * 100}, chat, {"text": "bc"}], tokenizer(), 40)
    assert (data.report.records, data.report.examples) == (3, 4)
    assert data.report.split == ("record 1",)
    assert data.report.dropped == {"longer than 40 tokens": ("record 2",)}
    assert "dropped 1: longer than 40 tokens (record 2)" in str(data.report)
    assert max(len(data[i]["tokens"]) for i in range(len(data))) == 40
    with pytest.raises(DataError, match=r"record 2: \d+ tokens are \d+ more than a row holds"):
        TokenDataset.encode([{"text": "a"}, chat], tokenizer(), 40, too_long="error")


def test_the_length_of_data_is_that_of_the_longest_example():
    assert TokenDataset.encode([{"text": "a"}, {"text": "abc"}], tokenizer(), 40).length == 4  # the end token's too


def test_a_conversation_about_a_picture_is_dropped_and_said():
    picture = {"type": "image_url", "image_url": {"url": "cat.png"}}
    shown = [{"role": "user", "content": [picture, "What is it?"]}, {"role": "assistant", "content": "A cat"}]
    data = TokenDataset.encode([{"messages": shown}, {"text": "a"}], tokenizer(), 60)
    assert data.report.dropped == {"has parts that are not text": ("record 1",)}
    assert len(data) == 1


def test_a_piece_with_nothing_to_learn_is_dropped_and_said():
    data = TokenDataset.encode([{"text": "a" * 40}], tokenizer(), 40)  # the end token alone in a second piece
    assert data.report.dropped == {"nothing in it to learn": ("record 1",)}
    assert len(data) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"text": "a"}\n{"text": ', r"data\.jsonl:2: not JSON"),
        ('{"text": "a"}\n\n{"txt": "a"}', r"data\.jsonl:3: expected 'text'"),
        ("", r"data\.jsonl: there is nothing to learn from"),
        (b'{"text": "a"}\n{"text": "\xff"}', r"data\.jsonl:2: not JSON: 'utf-8' codec can't decode"),
        (r'{"text": "half \ud83d"}', r"data\.jsonl:1: the text is not valid Unicode at character 5"),
        ("[1]", r"data\.jsonl:1: expected an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, lines, message):
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(DataError, match=message):
        TokenDataset.read(path, tokenizer(), 40)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl: No such file"):
        TokenDataset.read(tmp_path / "nowhere.jsonl", tokenizer(), 40)


def test_a_file_gives_what_its_records_give(tmp_path, data):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, TEXTS)))
    assert TokenDataset.read(path, tokenizer(), 48).digest == data.digest
