from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.training.weight_files import digest, pack, unpack

TENSORS = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3), "empty": torch.zeros(0, 2)}
CONTENT = pack("thing", TENSORS, {"x": [1, 0.1, None]})


def test_what_is_packed_is_unpacked():
    tensors, facts = unpack("thing", CONTENT)
    assert facts == {"x": [1, 0.1, None]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_tensors_that_share_memory_can_be_packed():
    shared = torch.ones(3)
    tensors, _ = unpack("thing", pack("thing", {"a": shared, "b": shared[1:]}, {}))
    assert torch.equal(tensors["b"], torch.ones(2))


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(place, change):
    damaged = bytearray(CONTENT)
    damaged[place] ^= change
    try:
        tensors, facts = unpack("thing", bytes(damaged))
    except ValueError:
        return
    assert facts == {"x": [1, 0.1, None]}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@given(st.binary(max_size=200))
def test_other_content_is_refused(content):
    with pytest.raises(ValueError, match="it "):
        unpack("thing", content)


@pytest.mark.parametrize("length", [0, 5, 100, len(CONTENT) - 1])
def test_a_part_is_refused(length):
    with pytest.raises(ValueError, match="it "):
        unpack("thing", CONTENT[:length])


def test_a_header_that_claims_to_be_huge_is_not_read():
    with pytest.raises(ValueError, match="part of it is missing"):
        unpack("thing", (1 << 60).to_bytes(8, "little") + b"{" * 100)


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="holds a thing"):
        unpack("other", CONTENT)


def test_facts_that_are_no_mapping_are_refused():
    with pytest.raises(ValueError, match="no mapping"):
        unpack("thing", pack("thing", {}, [1, 2]))


def test_a_digest_tells_names_types_and_shapes_apart():
    x = torch.zeros(4)
    different = [
        *(digest(x), digest(x.reshape(2, 2)), digest(x.to(torch.int32)), digest(x + 1), digest({"a": x})),
        *(digest({"b": x}), digest({"a": x, "b": x}), digest("a", "b"), digest("ab"), digest(None), digest("None")),
    ]
    assert len(set(different)) == len(different)
    assert digest(x) == digest(torch.zeros(4))
