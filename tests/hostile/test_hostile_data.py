"""What factories return: arrays of every type, shape and stride, and things that are no data at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splitimpera.models import datasets
from splitimpera.models.datasets import Dataset, Pixels, Samples, load_data
from splitimpera.scenario import DataSection

numbers = st.one_of(
    npst.integer_dtypes(endianness="?"), npst.unsigned_integer_dtypes(endianness="?"), npst.floating_dtypes()
)
types = st.one_of(numbers, npst.scalar_dtypes(), npst.array_dtypes(max_size=2))


def rows(count, kinds=types):
    shapes = st.one_of(
        *(st.tuples(), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
        npst.array_shapes(min_dims=1, max_dims=3, max_side=4),
    ).map(lambda rest: (count, *rest))
    return npst.arrays(kinds, shapes)


def labels(count, kinds=numbers):
    return npst.arrays(kinds, count)


def strided(array):
    return np.repeat(array, 2, axis=0)[::2] if array.ndim else array


def unaligned(array):
    records = np.zeros(array.shape, dtype=[("x", "i1"), ("y", array.dtype)])
    records["y"] = array
    return records["y"]


MAKES = [
    *(lambda array: array, lambda array: array.tolist(), list, torch.as_tensor, np.asfortranarray, strided, unaligned),
    *(
        lambda array: array.astype(array.dtype.newbyteorder()),
        lambda array: array[::-1],
        lambda array: array.astype(object),
    ),
    *(lambda array: torch.as_tensor(array).to_sparse(), lambda array: torch.as_tensor(array).to("meta")),
    *(lambda array: np.ma.array(array, mask=array == 0), np.ma.array, pd.DataFrame, pd.Series, iter),
    *(lambda array: pd.Series(array).astype("category"), lambda array: list(map(torch.as_tensor, array))),
    *(lambda array: torch.as_tensor(array, dtype=torch.float32).requires_grad_(), lambda array: array.astype(complex)),
    *(lambda array: [array[:1], array], lambda array: np.broadcast_to(array, (10**12, *array.shape))),
    *(lambda array: torch.as_tensor(array).expand(1000, *array.shape), lambda array: memoryview(array)),
]


@st.composite
def made(draw, arrays):
    array = draw(arrays)
    try:
        return draw(st.sampled_from(MAKES))(array)
    except Exception:  # not every array can be made so
        return array


nonsense = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)),
        *(rows(3), st.just(torch.ones(3, 2)), st.builds(object), st.just(Samples), st.dates(), st.complex_numbers()),
    ),
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=4), st.tuples(inner, inner), st.sets(st.integers(), max_size=3)),
        st.dictionaries(st.sampled_from(["train", "validation", "test", "tset", "\x1b[2J", 7]), inner, max_size=4),
        st.builds(Dataset, inner, inner, inner, inner, inner),
        st.builds(iter, st.lists(inner)),
    ),
    max_leaves=8,
)


def pairs(x=types, y=numbers):
    return st.integers(0, 12).flatmap(lambda count: st.tuples(made(rows(count, x)), made(labels(count, y))))


mappings = st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.one_of(pairs(), st.none()), min_size=2)
sections = st.one_of(
    st.just({}),
    st.fixed_dictionaries({}, optional={"mean": st.just((0.5,) * 3), "std": st.just((0.1,)), "size": st.just((2, 2))}),
)


def load(returned, **options):
    """load_data of a factory that returns this."""
    own = datasets.run_factory
    datasets.run_factory = lambda *_: returned
    try:
        return load_data(DataSection(source="mine.py:data", **options), Path())
    finally:
        datasets.run_factory = own


def check(returned, options):
    found = refused_or_taken(partial(load, returned, **options))
    if found is None:
        return
    shape = found.test.inputs.shape[1:]
    assert len(found.test)
    assert len(found.validation)
    for part in (found.train, found.validation, found.test):
        assert type(part.inputs) is type(part.labels) is torch.Tensor
        assert part.inputs.shape == (len(part.labels), *shape)
        assert part.inputs.dtype == found.test.inputs.dtype
        assert part.inputs.is_floating_point() or part.inputs.dtype in (torch.uint8, torch.int8, *WHOLE)
        assert part.labels.dtype == torch.int64
        if part.inputs.is_floating_point():
            assert part.inputs.dtype != torch.float64
            assert torch.isfinite(part.inputs).all()
    assert found.pixels is None or found.pixels.made(found.test.inputs)


WHOLE = (torch.int16, torch.int32, torch.int64)


def check_values(x, y, make_x, make_y):
    """Well-formed data in any make are taken, and taken rightly."""
    try:
        returned = MAKES[make_x](x), MAKES[make_y](y)
    except Exception:  # torch takes no foreign byte order
        returned = x, y
    found = load(returned)
    order = np.random.default_rng(0).permutation(len(y))
    order = np.concatenate([order[10:], order[6:10], order[:6]])  # train, validation, test of 12
    whole = found.everything()
    assert whole.labels.tolist() == y[order].tolist()
    listed = isinstance(returned[0], list) and not isinstance(returned[0][0], np.ndarray)  # nobody knows the type
    if x.ndim == 4 and x.dtype.itemsize <= 2 and x.dtype.kind == "u" and not listed:
        white = np.float32(np.iinfo(x.dtype).max)
        assert np.array_equal(whole.inputs.numpy(), x[order].transpose(0, 3, 1, 2).astype(np.float32) / white)
        assert (found.pixels == Pixels((0.0,) * x.shape[3], (1.0,) * x.shape[3])) == (x.dtype.itemsize == 1)
    else:
        assert whole.inputs.tolist() == x[order].astype(np.float32 if x.dtype.kind == "f" else np.int64).tolist()
        assert found.pixels is None


shapes = npst.array_shapes(min_dims=0, max_dims=3, max_side=4).map(lambda rest: (12, *rest))
plain = st.tuples(st.sampled_from("u1 u2 u4 i1 i2 i4 i8 f4 f8 >u2 >i4 >f4".split()), shapes).flatmap(
    lambda chosen: npst.arrays(
        *chosen, elements=st.floats(-(2.0**100), 2.0**100, width=32) if "f" in chosen[0] else None
    )
)
which = st.integers(0, 7)
indices = st.sampled_from("u1 u8 i4 i8 >u8 >i2".split()).flatmap(
    lambda kind: npst.arrays(kind, 12, elements=st.integers(0, 100))
)

test_arrays, test_arrays_long = attack(check, pairs(), sections, quick=60, long=650)
test_mappings, test_mappings_long = attack(check, mappings, sections, long=600)
test_nonsense, test_nonsense_long = attack(check, nonsense, sections, long=650)
test_values, test_values_long = attack(check_values, plain, indices, which, which, quick=60, long=650)
