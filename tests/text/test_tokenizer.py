"""Tokens: files kept byte for byte, text cut into tokens and put together again without a broken character."""

import json
import pickle
import re

import pytest
import tokenizers
from hypothesis import given, strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

from glmkit.errors import TokenizerError
from glmkit.text import GLM_SPECIAL_TOKENS, IncrementalDecoder, Tokenizer

WORDS = "The weather in 北京 is fine, naïve café 🎉🎉 1234"


def train() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([WORDS] * 5, trainer)
    added = [AddedToken(text, special=special, normalized=False) for text, special in GLM_SPECIAL_TOKENS.items()]
    backend.add_tokens([*added, AddedToken("Zürich 北", normalized=False)])
    return backend


BACKEND = train()
FILE = BACKEND.to_str(pretty=True).encode()


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer({"tokenizer.json": FILE})


def test_special_tokens_are_those_of_glm45():
    """GLM-4.5's ids 151329 to 151364; the first 18 are flagged special, thoughts and tool calls are not."""
    ids = {text: 151329 + place for place, text in enumerate(GLM_SPECIAL_TOKENS)}
    assert len(ids) == 36
    known = {
        "<|endoftext|>": 151329, "[gMASK]": 151331, "<sop>": 151333, "<|system|>": 151335, "<|user|>": 151336,
        "<|assistant|>": 151337, "<|observation|>": 151338, "<|end_of_transcription|>": 151346,
        "<|code_prefix|>": 151347, "<think>": 151350, "</think>": 151351, "<tool_call>": 151352,
        "</arg_value>": 151359, "/nothink": 151360, "<|video|>": 151364,
    }  # fmt: skip
    assert {text: ids[text] for text in known} == known
    assert [i for text, i in ids.items() if GLM_SPECIAL_TOKENS[text]] == list(range(151329, 151347))


def test_encode_adds_nothing_and_finds_special_tokens(tokenizer):
    ids = tokenizer.encode("[gMASK]<sop><|user|>\nThe<|assistant|>")
    marks = ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>")
    assert [i for i in ids if i in map(tokenizer.token_id, marks)] == [tokenizer.token_id(mark) for mark in marks]
    assert ids[0] == tokenizer.token_id("[gMASK]")
    assert tokenizer.encode("") == []


def test_it_goes_to_another_process_whole(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.files == tokenizer.files
    assert copy.encode("<|user|>\nThe") == tokenizer.encode("<|user|>\nThe")


def test_post_processor_truncation_and_padding_of_the_file_are_not_applied():
    backend = train()
    begin = (("<sop>", backend.token_to_id("<sop>")),)
    backend.post_processor = processors.TemplateProcessing(single="<sop> $A", special_tokens=list(begin))
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    file = backend.to_str().encode()
    tokenizer = Tokenizer({"tokenizer.json": file})
    assert tokenizer.encode(WORDS) == BACKEND.encode(WORDS).ids
    assert tokenizer.files["tokenizer.json"] == file


def test_sizes_and_ids(tokenizer):
    assert tokenizer.vocab_size == BACKEND.get_vocab_size()
    assert tokenizer.token_id("Zürich 北") == tokenizer.vocab_size - 1
    assert tokenizer.special_ids == {tokenizer.token_id(t) for t, special in GLM_SPECIAL_TOKENS.items() if special}
    with pytest.raises(TokenizerError, match="no token '<nothing>'"):
        tokenizer.token_id("<nothing>")


def test_vocabulary_has_to_fit_the_embedding(tokenizer):
    tokenizer.check_fits(tokenizer.vocab_size)
    with pytest.raises(TokenizerError, match=rf"up to {tokenizer.vocab_size - 1}.*only 64 rows"):
        tokenizer.check_fits(64)


def test_highest_id_counts_where_ids_have_gaps():
    spec = json.loads(FILE)
    spec["model"]["vocab"]["ÿ"] = 1000
    assert Tokenizer({"tokenizer.json": json.dumps(spec).encode()}).vocab_size == 1001


def test_skipping_special_tokens_keeps_thoughts(tokenizer):
    ids = tokenizer.encode("<|assistant|>\n<think>The</think>fine<|user|>")
    assert tokenizer.decode(ids, skip_special=True) == "\n<think>The</think>fine"
    assert tokenizer.decode(ids) == "<|assistant|>\n<think>The</think>fine<|user|>"


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.just(WORDS))
def test_text_survives_encoding(text):
    tokenizer = Tokenizer({"tokenizer.json": FILE})
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


def test_no_half_character_is_emitted(tokenizer):
    ids = [tokenizer.token_id(character) for character in "ðŁİī"]  # the four bytes of 🎉, a token each
    decoder = IncrementalDecoder(tokenizer)
    assert [decoder.feed(i) for i in ids] == ["", "", "", "🎉"]
    assert decoder.finish() == ""


def test_incomplete_character_at_the_end(tokenizer):
    ids = [*tokenizer.encode("a"), tokenizer.token_id("ð")]
    decoder = IncrementalDecoder(tokenizer)
    assert [decoder.feed(i) for i in ids] + [decoder.finish()] == ["a", "", "\ufffd"]
    assert decoder.feed(ids[0]) == "a"  # ready for another text


@given(st.lists(st.integers(0, BACKEND.get_vocab_size() + 3), max_size=12), st.booleans())
def test_pieces_together_are_the_whole(ids, skip_special):
    """Whatever the ids: broken UTF-8, added tokens, ids of the padded vocabulary."""
    tokenizer = Tokenizer({"tokenizer.json": FILE})
    decoder = IncrementalDecoder(tokenizer, skip_special)
    assert "".join(map(decoder.feed, ids)) + decoder.finish() == tokenizer.decode(ids, skip_special)


def test_folder_round_trip_is_byte_identical(tmp_path):
    files = {
        "tokenizer.json": FILE,
        "tokenizer_config.json": b'{"b": 1,\r\n "a": "\xe5\x8c\x97", "chat_template": "old"}\n',
        "chat_template.jinja": b"{{ messages }}\n",
        "special_tokens_map.json": b"{}",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.chat_template == "{{ messages }}\n"
    tokenizer.save(tmp_path / "copy")
    written = {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert written == files == dict(tokenizer.files)


def with_config(config):
    return Tokenizer({"tokenizer.json": FILE, "tokenizer_config.json": config.encode()})


def test_where_the_chat_template_comes_from(tokenizer):
    assert tokenizer.chat_template is None
    assert with_config("{}").chat_template is None
    assert with_config('{"chat_template": "{{ 1 }}"}').chat_template == "{{ 1 }}"
    named = '[{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]'
    assert with_config(f'{{"chat_template": {named}}}').chat_template == "d"


@pytest.mark.parametrize(
    "config", ["{", "[]", "[" * 100_000, '{"chat_template": 3}', '{"chat_template": [{"name": "rag"}]}']
)
def test_bad_configuration_is_named(config):
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        with_config(config)
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        Tokenizer({"tokenizer.json": FILE, "tokenizer_config.json": config.encode(), "chat_template.jinja": b"t"})


def test_an_empty_template_is_named_by_its_file():
    with pytest.raises(TokenizerError, match=r"^tokenizer_config\.json: the chat template is empty"):
        with_config('{"chat_template": ""}')
    with pytest.raises(TokenizerError, match=r"^chat_template\.jinja: the chat template is empty"):
        Tokenizer({"tokenizer.json": FILE, "chat_template.jinja": b" \n"})


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_folder_in_the_place_of_a_file_is_named(name, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(FILE)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(TokenizerError, match=f"{tmp_path}: {name} cannot be read"):
        Tokenizer.from_folder(tmp_path)


def test_an_added_token_that_would_get_another_id_is_refused():
    spec = json.loads(FILE)
    last = spec["added_tokens"][-1]
    last["id"] += 1000
    with pytest.raises(TokenizerError, match=rf"'{re.escape(last['content'])}' says it has id {last['id']}"):
        Tokenizer({"tokenizer.json": json.dumps(spec).encode()})


def test_bad_tokenizer_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=rf"{tmp_path}: tokenizer\.json is missing"):
        Tokenizer.from_folder(tmp_path)
    for content in (b"", b"{", b'{"model": 3}', b"\xff"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(TokenizerError, match=rf"{tmp_path}: tokenizer\.json: "):
            Tokenizer.from_folder(tmp_path)
    other = train()
    other.decoder = decoders.Metaspace()
    with pytest.raises(TokenizerError, match="expected a ByteLevel decoder"):
        Tokenizer({"tokenizer.json": other.to_str().encode()})
