"""`file.py:factory`: inputs that a user's own code makes, on a device without torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from splitimpera.core.errors import DataError, SplitImperaError, shown, shown_path
from splitimpera.core.registry import nearest
from splitimpera.deploy.sample_stream import Sample, Source


def made_by(name: str) -> Source:
    """The inputs that a function without arguments returns: an iterable of inputs, or of pairs of input and class.

    Args:
        name: "path/to/file.py:function". The file's folder is importable while inputs are read.

    Raises:
        DataError: the file or the function is missing, or fails; the message names its line.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise DataError(f"the file '{shown_path(place)}' does not exist")
    with _telling(f"importing '{shown_path(place)}' failed", path):
        module = _imported(path)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
        raise DataError(f"'{shown_path(place)}' has no function '{shown(attribute)}'", hint=nearest(attribute, public))
    with _telling(f"calling '{shown(name)}' failed", path):
        made = factory()
    if not isinstance(made, Iterable):
        raise DataError(f"'{shown(name)}' returns {type(made).__name__}, an iterable of inputs is expected")
    return Source(shown(name), _samples(made, name, path))


def _samples(made: Iterable[Any], name: str, path: Path) -> Iterator[Sample]:
    items = iter(made)
    for row in count():
        with _telling(f"reading from '{shown(name)}' failed", path):
            try:
                item = next(items)
            except StopIteration:
                return
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Integral):
                sample = Sample(_plain(item[0]), row, int(item[1]), (np.array(int(item[1])),))
            else:
                sample = Sample(_plain(item), row)
        yield sample


def _plain(item: Any) -> Any:
    return [np.asarray(one) for one in item] if isinstance(item, list | tuple) else np.asarray(item)


def _imported(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.resolve().parent))
    spec = spec_from_file_location(f"splitimpera_source_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None  # a .py file has both
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _telling(doing: str, path: Path) -> Iterator[None]:
    """Whatever the user's code raises becomes one message; `SystemExit` and the like would end us without a word."""
    try:
        yield
    except (SplitImperaError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as failure:
        line, trace = "", failure.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(path):
                line = f" ({shown_path(path)}, line {trace.tb_lineno})"
            trace = trace.tb_next
        raise DataError(f"{doing}: {type(failure).__name__}: {shown(failure, 300)}{line}") from failure
