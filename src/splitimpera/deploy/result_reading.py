"""What a response says: tensors that are held to the task, and the class that they name."""

from __future__ import annotations

from splitimpera.bundle.manifest import Manifest
from splitimpera.bundle.task_entry import Responding
from splitimpera.core.array_types import Row
from splitimpera.core.errors import LinkError
from splitimpera.deploy.messages import result_of


def read_response(responding: Responding, tensors: bytes) -> Row:
    """The response in what a server sent.

    Raises:
        LinkError: it is none of this task.
    """
    result = result_of(tensors, responding.response, responding.most)
    if problem := responding.problem(result):
        raise LinkError(f"the server responds with {problem}")
    return result


def named(manifest: Manifest, result: Row | None) -> tuple[int | None, str | None]:
    """The class with the largest value, and its name; None where responses are no such values."""
    if result is None or not result[0].size or not manifest.responding.names_classes:
        return None, None
    answer, classes = int(result[0].argmax()), manifest.classes
    return answer, classes[answer] if answer < len(classes) else None
