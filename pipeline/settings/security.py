"""What processes of one installation keep from each other."""

from pydantic import Field

from pipeline.settings.section import Section


class SecuritySettings(Section):
    """Sealing (decision 029): the same for gate, orchestrators, schedulers, workers and operators."""

    sealing: bool = Field(
        False, description="on: grants are sealed to their holder, so that no other worker reads jobs or tokens"
    )
