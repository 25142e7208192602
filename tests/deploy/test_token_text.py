"""Text as tokens and back: bytes, and a tokenizer that is packed in the bundle."""

from __future__ import annotations

import hashlib

import pytest
from small_language import PROMPT, content, unsplit

from splitimpera.bundle.manifest import identified, written
from splitimpera.bundle.opened import open_bundle
from splitimpera.core.errors import BundleError
from splitimpera.deploy.token_text import ByteTokens, PackedTokens, tokenizer_of
from splitimpera.deploy.writing_client import WritingClient

TEXT = "né ☃ x"


@pytest.fixture(scope="module")
def packed():
    """The file of a tokenizer whose tokens are bytes, in another order."""
    tokenizers = pytest.importorskip("tokenizers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={one: i for i, one in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made.to_str().encode()


def read(tokens, text):
    """What comes of each token of a text, and at its end."""
    stream = tokens.stream()
    return [stream.feed(token) for token in tokens.ids(text)], stream.end()


def test_letters_come_when_they_are_whole():
    assert read(ByteTokens(), TEXT) == (["n", "", "é", " ", "", "", "☃", " ", "x"], "")
    stream = ByteTokens().stream()
    assert (stream.feed(0xE2), stream.feed(300), stream.end()) == ("", "", "\ufffd")


def test_the_same_of_a_packed_tokenizer(packed):
    tokens = PackedTokens(packed, 256)
    assert read(tokens, TEXT) == (["n", "", "é", " ", "", "", "☃", " ", "x"], "")
    assert tokens.ids(TEXT) != ByteTokens().ids(TEXT)


def test_tokenizers_that_do_not_fit(packed):
    with pytest.raises(BundleError, match="the tokenizer has 256 tokens, the network 100"):
        PackedTokens(packed, 100)
    for damaged in (b"{}", b"\xff", b"[" * 1000):
        with pytest.raises(BundleError, match="the bundle's tokenizer cannot be read"):
            PackedTokens(damaged, 256)


def test_a_bundle_with_a_tokenizer(packed, tmp_path):
    files, keys = content(cuts=())
    files["tokenizer.json"] = packed
    keys["files"]["tokenizer.json"] = {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}
    keys["language"]["tokenizer"] = "tokenizer.json"
    for name, each in {**files, "manifest.json": written(identified(keys))}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(each)
    bundle = open_bundle(tmp_path)
    ids = tokenizer_of(bundle).ids(bytes(PROMPT).decode())
    with WritingClient(bundle) as client:
        assert list(client.write(bytes(PROMPT).decode(), 4)) == unsplit(ids, 4)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tokenizer": "nowhere.json"}, "'nowhere.json' is not listed"),
        ({"end": 256}, "the token that ends a text is none"),
        ({"vocabulary": 200}, "bytes are more than the tokens"),
        ({"context": 1 << 20, "key_value_shape": [64, 64]}, "larger than any that is kept"),
        ({"blocks": [{"cut": 0, "blocks": 0}, {"cut": 2, "blocks": 1}]}, "not said how many blocks"),
        ({"blocks": [{"cut": 0, "blocks": 1}, {"cut": 9, "blocks": 3}]}, "do not go up"),
        ({"width": 8}, "no window of tokens"),
    ],
)
def test_manifests_that_cannot_be(changes, problem):
    _, keys = content(cuts=(0, 2))
    keys["language"] |= changes
    with pytest.raises(BundleError, match=problem):
        identified(keys)


def test_other_bundles_are_as_they_were_and_this_one_needs_its_version():
    _, keys = content(cuts=(2,))
    assert identified(keys).language is not None
    with pytest.raises(BundleError, match="language models of 7: this bundle has to be of 7"):
        identified(keys | {"schema_version": 3})
    with pytest.raises(BundleError, match="this bundle has to be of 3"):
        identified(keys | {"language": None})
    plan, lone = keys["plans"]
    lossy = plan | {"hops": [plan["hops"][0] | {"transport": "udp"}]}
    with pytest.raises(BundleError, match="tokens cross by TCP"):
        identified(keys | {"plans": [lossy, lone]})
