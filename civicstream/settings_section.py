"""What every section of the settings is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

__all__ = ["Name", "Section"]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,80}$")]


class Section(BaseModel):
    """One part's settings; a field that is not declared is refused, and no value is repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
