from __future__ import annotations

import time

import pytest

from splitimpera.core.errors import UnknownNameError
from splitimpera.core.registry import Registry, nearest


def test_a_few_names_are_all_listed_in_order():
    assert nearest("tpc", ["udp", "tcp"]) == "did you mean 'tcp'? Known: tcp, udp"
    assert nearest("quic", ["udp", "tcp"]) == "known: tcp, udp"


def test_of_many_names_the_nearest_come_first_and_the_others_are_counted():
    names = [f"layer{place:03}" for place in range(300)]
    words = nearest("layer299x", names)
    assert words.startswith("did you mean 'layer299'? Known: layer299, ")
    assert words.endswith(" and 290 more")
    assert nearest("?", names) == f"known: {', '.join(names[:10])} and 290 more"


def test_a_huge_name_is_cut_before_it_is_compared():
    registry = Registry("thing")
    for place in range(1000):
        registry.register("x" * 50 + str(place))(place)
    begun_s = time.process_time()
    with pytest.raises(UnknownNameError) as caught:
        registry["x" * 10**6]
    assert time.process_time() - begun_s < 2
    assert len(str(caught.value)) < 1200
    assert f"'{'x' * 80}...'" in str(caught.value)
