"""What all sections of a scenario have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Section(BaseModel):
    """Keys that are all known, of strict types; what was given is written, defaults are not."""

    # true is no number, 1.0 no count, 5 no text
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # what is left out has a meaning of its own: a link's preset gives it, a queue has no limit
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}
