"""What was computed for one task is not taken for what another one asks."""

from __future__ import annotations

from dataclasses import dataclass

from beds import known_bed

from splitimpera.evaluation.passes import answers
from splitimpera.evaluation.requests import Intact
from splitimpera.tasks.classification import Classification
from splitimpera.training.checksum import training_key
from splitimpera.training.settings import Training


class Remembered(dict):
    """Kept answers that count how often something was found."""

    found = 0

    def get(self, key):
        self.found += key in self
        return super().get(key)

    put = dict.update


@dataclass(frozen=True)
class Own(Classification):
    strict: float = 0.0


def test_answers_and_weights_are_kept_apart_by_task():
    bed, kept = known_bed(), Remembered()
    (output,) = bed.graph.outputs
    others = Classification(output.name), Own(), Own(strict=1.0)
    tasks = [bed.task, bed.task.fitted([output], "top5_accuracy"), *(task.fitted([output]) for task in others)]
    for task in tasks * 2:
        assert len(answers(bed.with_task(task), "validation", [request := Intact(())], kept)[request].counts) == 20
    assert (len(kept), kept.found) == (len(tasks), len(tasks))
    arguments = bed.graph, bed.graph.cuts[1], bed.data.train, Training()
    assert len({training_key(*arguments, task=task) for task in tasks}) == len(tasks)
    assert training_key(*arguments) == training_key(*arguments, task=tasks[0])
