"""`package.module:factory` and `file.py:factory`: how a user's own code is named, called and kept from doing harm.

Wherever a user's code runs, it runs inside `contained()`, which puts back what it does to the process, and inside
`telling(...)`, which makes one message of whatever it raises.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import locale
import os
import random
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from splitimpera.core.errors import SplitImperaError, shown
from splitimpera.core.memory import MORE_MEMORY, shortage
from splitimpera.core.registry import nearest

TEXT_CHARACTERS = 300
"""How much of an exception's text a message quotes."""

_neighbours: set[str] = set()
"""Modules that were imported from users' folders; those of another folder may bear the same names."""


def is_factory(name: str) -> bool:
    module, _, factory = name.rpartition(":")
    return bool(module) and factory.isidentifier()


def factory_file(name: str) -> str | None:
    """The file of 'file.py:factory'; None where the name is another one."""
    place, _, _ = name.partition(":")
    return place if is_factory(name) and place.endswith(".py") else None


def run_factory(name: str, folder: Path, error: type[SplitImperaError], **options: Any) -> object:
    """What the function that `name` names returns.

    The import and the call share one process state: a seed that the module sets holds in the function, too.

    Args:
        name: "package.module:factory", importable from `folder`, the working folder or the environment, or
            "file.py:factory" relative to `folder`.
        error: what to raise where anything fails; it names the line in the user's file.
        options: what the function is called with.
    """
    place, _, attribute = name.rpartition(":")
    file = folder / place if place.endswith(".py") else None
    with contained(), _importable_from(folder if file is None else file.parent):
        with telling(error, f"importing '{shown(name)}' failed"):
            if file is not None and not file.is_file():
                raise error(f"the file '{shown(file)}' does not exist")
            try:
                module = importlib.import_module(place) if file is None else _import_file(file)
            except ModuleNotFoundError as failure:
                raise error(
                    f"'{shown(name)}' cannot be imported: {exception_text(failure)}",
                    hint="install the package, or give 'path/to/file.py:factory'",
                ) from None
            factory = getattr(module, attribute, None)
            if not callable(factory):
                public = [shown(key) for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
                hint = nearest(attribute, public)
                raise error(f"'{shown(place)}' has no function '{shown(attribute)}'", hint=hint)
            if isinstance(factory, torch.nn.Module):
                raise error(
                    f"'{shown(name)}' is a network, not a function that returns one",
                    hint=f"write one: def make(): return {shown(attribute)}",
                )
        with telling(error, f"calling '{shown(name)}' failed"):
            made: object = factory(**options)
            return made


@contextmanager
def telling(error: type[SplitImperaError], doing: str, hint: str = "") -> Iterator[None]:
    """Whatever a user's code raises becomes `error`: "`doing`: the exception, and the line in the user's file".

    `SystemExit` and the like are no exception: a network that ends the process would end it without a result and
    without a word. Ctrl-C passes, and so do our own errors.
    """
    try:
        yield
    except (SplitImperaError, KeyboardInterrupt):
        raise
    except BaseException as failure:
        hint = MORE_MEMORY if shortage(failure) else hint
        raise error(f"{doing}: {where_it_failed(failure)}", hint=hint) from failure


def where_it_failed(failure: BaseException) -> str:
    """The exception in one line, with the deepest place that is neither torch's nor ours."""
    kind, place = shown(type(failure).__name__), user_frame(failure)
    words = shortage(failure) or exception_text(failure)
    return (f"{kind}: {words}" if words else kind) + (f" ({place})" if place else "")


def exception_text(failure: BaseException) -> str:
    """The first line of `str(failure)`, which runs the user's code once more."""
    try:
        text = "".join(str(failure))  # a plain string, whatever class of strings it is
    except KeyboardInterrupt:
        raise
    except BaseException as second:
        text = f"without a text, for to make it failed: {type(second).__name__}"
    return shown(text.strip().partition("\n")[0], TEXT_CHARACTERS)


def user_frame(failure: BaseException) -> str:
    """'file.py, line 12, in forward' of the deepest frame outside installed packages and this one; '' without one."""
    ours, found, trace = str(Path(__file__).resolve().parents[1]), "", failure.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        installed = "site-packages" in code.co_filename or code.co_filename.startswith((sys.base_prefix, "<"))
        if not installed and not code.co_filename.startswith(ours):
            found = f"{shown(Path(code.co_filename).name)}, line {trace.tb_lineno}, in {shown(code.co_name)}"
        trace = trace.tb_next
    earlier = failure.__cause__ or failure.__context__
    return found if found or earlier is None else user_frame(earlier)


def _import_file(path: Path) -> ModuleType:
    # one name a file: two of the same name in different folders are two modules
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    name = f"splitimpera_user_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)[:100]}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None
    assert spec.loader is not None  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Put a folder and the working folder in front of the import path; `contained` takes them away again.

    What an earlier user's folder had under a name that these two have, too, is forgotten first.
    """
    paths = [str(folder.resolve()), str(Path.cwd())]
    importlib.invalidate_caches()  # a file may be younger than what is known of its folder
    for name in sorted(_neighbours & sys.modules.keys()):
        found = PathFinder.find_spec(name, paths)
        if found is not None and found.origin != getattr(sys.modules[name], "__file__", None):
            for module in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[module]
    before = set(sys.modules)
    sys.path[:0] = paths
    try:
        yield
    finally:
        for name in [key for key in sys.modules if key not in before and "." not in key]:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and any(Path(file).is_relative_to(path) for path in paths):
                _neighbours.add(name)


@contextmanager
def contained() -> Iterator[None]:
    """Put back what a user's code does to the process, also after an exception.

    That is: the working folder, the import path, the states of random, numpy and torch, torch's default type and
    device, gradient and inference mode, autocast, deterministic algorithms, precision and threads, warnings, NumPy's
    ways with floating-point errors, the locale, the recursion limit, what Ctrl-C does, and standard input, output and
    error, also where they were closed. Loaded modules and the environment stay: code that was loaded may rely on them.
    """
    with ExitStack() as after:
        after.callback(_put_back, _state())
        for stream in ("stdin", "stdout", "stderr"):
            after.enter_context(_kept_open(stream))
        after.enter_context(_kept_folder())
        after.enter_context(warnings.catch_warnings())
        # to leave it restores gradient and inference mode, whatever was entered inside and never left
        gradients = torch.is_grad_enabled()
        after.enter_context(torch.inference_mode(torch.is_inference_mode_enabled()))
        after.enter_context(torch.set_grad_enabled(gradients))
        yield


def _settings() -> list[tuple[Any, Callable[[Any], object]]]:
    """What is set now, each with a call that sets it."""
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    device = torch.get_default_device()
    return [
        # first: it decides where torch puts what follows
        (device, lambda value: torch.set_default_device(None if value == torch.device("cpu") else value)),
        (torch.get_default_dtype(), torch.set_default_dtype),
        (torch.is_autocast_enabled("cpu"), lambda value: torch.set_autocast_enabled("cpu", value)),
        (deterministic, lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1])),
        (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
        (torch.get_num_threads(), torch.set_num_threads),
        (np.geterr(), lambda value: np.seterr(**value)),
        (locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
        (sys.getrecursionlimit(), sys.setrecursionlimit),
        (signal.getsignal(signal.SIGINT), lambda value: signal.signal(signal.SIGINT, value)),
    ]


def _state() -> dict[str, Any]:
    return {
        "settings": _settings(),
        "path": (sys.path, list(sys.path)),
        "random": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  (the user's)
        "torch": torch.get_rng_state(),
    }


def _put_back(state: dict[str, Any]) -> None:
    for (before, put), (now, _) in zip(state["settings"], _settings(), strict=True):
        if now != before:
            # in another thread than the first nobody may say what Ctrl-C does
            with suppress(ValueError, TypeError, locale.Error, RecursionError):
                put(before)
    sys.path, entries = state["path"]
    sys.path[:] = entries
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])


@contextmanager
def _kept_open(stream: str) -> Iterator[None]:
    """Put a standard stream back; where it was closed, or its file descriptor was, it is open again."""
    kept = getattr(sys, stream)
    files = [file for file in {kept, getattr(sys, f"__{stream}__")} if isinstance(file, io.TextIOWrapper)]
    spares = []
    for file in files:
        with suppress(OSError, ValueError):  # it is closed already, or no file
            spares.append((file, file.fileno(), os.dup(file.fileno()), file.encoding, file.errors))
    try:
        yield
    finally:
        setattr(sys, stream, kept)
        for file, number, spare, encoding, errors in spares:
            with suppress(OSError, ValueError):
                file.flush()
            os.dup2(spare, number)
            os.close(spare)
            if file.closed:
                raw = open(number, "rb" if stream == "stdin" else "wb", closefd=False)  # noqa: SIM115
                # in place: others hold it, too
                file.__init__(raw, encoding, errors, line_buffering=raw.isatty())  # type: ignore[misc]


@contextmanager
def _kept_folder() -> Iterator[None]:
    folder: str | None = None
    with suppress(OSError):  # it may be gone
        folder = os.getcwd()  # noqa: PTH109
    try:
        yield
    finally:
        if folder is not None:
            with suppress(OSError):
                os.chdir(folder)
