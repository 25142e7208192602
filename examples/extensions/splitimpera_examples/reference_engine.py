"""An engine: ONNX's reference evaluator, in NumPy: slow, and a judge where two other engines disagree."""

from __future__ import annotations

from contextlib import suppress

from splitimpera.deploy.inference import ENGINES


@ENGINES.register("onnx-reference")
def program(content, threads):
    """The content of a file -> a function: the tensors of some frames -> those that come out."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(content))

    def run(tensors):
        return tuple(evaluator.run(None, dict(zip(evaluator.input_names, tensors, strict=True))))

    return run


def register_export():
    """How a part becomes that content: as for ONNX Runtime. Apart, since a server has nothing that exports."""
    from splitimpera.export.engine_files import FILES

    FILES.register("onnx-reference")(FILES["onnx"])


with suppress(ImportError):  # without PyTorch, a machine only runs what others exported
    register_export()
