"""What every section of the settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings of one concern: unknown names are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
