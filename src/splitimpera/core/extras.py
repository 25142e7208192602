"""Libraries that the base installation lacks, and the line that installs them."""

from __future__ import annotations

from importlib.util import find_spec

from splitimpera.core.errors import MissingExtraError

DESIGN = "filelock jinja2 markupsafe matplotlib numba onnx onnxscript platformdirs plotly scipy sklearn torch yaml"
EXTRAS = {
    **dict.fromkeys(DESIGN.split(), "design"),
    **{"constriction": "ans", "zfec": "fec", "cv2": "video", "ray": "ray"},
    **{"tokenizers": "text", "transformers": "language"},
}
"""Which extra of the package brings a library, by the name under which that is imported."""


def needed(library: str, what: str) -> None:
    """Make sure that a library is there, without importing it.

    Args:
        what: What needs it, such as "the codec 'uint8+rans'".

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(library) is None:
        raise _missing(library, what)


def explained(failure: ImportError, what: str) -> MissingExtraError | None:
    """An import that failed as a message with the line to run; None where no extra would have helped.

    Args:
        what: What needed it, such as "this command".
    """
    return _missing(failure.name, what) if failure.name in EXTRAS else None


def _missing(library: str, what: str) -> MissingExtraError:
    line = f"pip install 'split-et-impera[{EXTRAS[library]}]'"  # by itself, so that it can be copied
    return MissingExtraError(f"{what} needs {library}, which is not installed here", hint=f"run\n{line}")
