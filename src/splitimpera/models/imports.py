"""`package.module:factory` and `file.py:factory`: how a user's own code is named and called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from splitimpera.errors import SplitImperaError
from splitimpera.plugins import nearest


def is_factory(name: str) -> bool:
    module, _, factory = name.rpartition(":")
    return bool(module) and factory.isidentifier()


def load_factory(name: str, folder: Path, error: type[SplitImperaError]) -> Callable[[], object]:
    """Import what `name` names.

    Args:
        name: "package.module:factory", importable from `folder`, the working folder or the environment, or
            "file.py:factory" relative to `folder`.
        error: what to raise where that fails.
    """
    place, _, attribute = name.rpartition(":")
    try:
        if place.endswith(".py"):
            module = _import_file(folder / place)
        else:
            with _importable_from(folder):
                module = importlib.import_module(place)
    except FileNotFoundError:
        raise error(f"the file '{folder / place}' does not exist") from None
    except ModuleNotFoundError as failure:
        raise error(
            f"'{name}' cannot be imported: {failure}", hint="install the package, or give 'path/to/file.py:factory'"
        ) from None
    except Exception as failure:
        raise error(f"importing '{name}' failed: {where_it_failed(failure)}") from failure
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise error(f"'{place}' has no function '{attribute}'", hint=nearest(attribute, public))
    return factory  # type: ignore[no-any-return]


def call_factory(factory: Callable[[], object], name: str, error: type[SplitImperaError]) -> object:
    """Call the user's factory, which takes no arguments; its failure names the line in the user's file."""
    try:
        return factory()
    except SplitImperaError:
        raise
    except Exception as failure:
        raise error(f"calling '{name}' failed: {where_it_failed(failure)}") from failure


def where_it_failed(failure: BaseException) -> str:
    """The exception in one line, with the deepest place that is neither torch's nor ours."""
    words = (str(failure).strip().splitlines() or [""])[0]
    summary = f"{type(failure).__name__}: {words}" if words else type(failure).__name__
    place = user_frame(failure)
    return f"{summary} ({place})" if place else summary


def user_frame(failure: BaseException) -> str:
    """'file.py, line 12, in forward' of the deepest frame outside installed packages and this one; '' without one."""
    ours = str(Path(__file__).resolve().parents[1])
    for frame in reversed(traceback.extract_tb(failure.__traceback__)):
        installed = "site-packages" in frame.filename or frame.filename.startswith((sys.base_prefix, "<"))
        if not installed and not frame.filename.startswith(ours):
            return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
    return ""


def _import_file(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(path)
    name = f"splitimpera_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable_from(path.parent):
        spec.loader.exec_module(module)
    return module


class _importable_from:  # noqa: N801  (reads as a statement)
    """Put a folder and the working folder in front of the import path for a while."""

    def __init__(self, folder: Path) -> None:
        self.paths = [str(folder.resolve()), str(Path.cwd())]

    def __enter__(self) -> None:
        sys.path[:0] = self.paths

    def __exit__(self, *exception: object) -> None:
        for path in self.paths:
            sys.path.remove(path)
