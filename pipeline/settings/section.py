"""What every section of the settings is."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr


class Section(BaseModel):
    """Settings of one concern: unknown names are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Return the values as JSON has them, secrets in clear: for the environment of an agent, and nothing else."""
        secrets = {name: value.get_secret_value() for name, value in self if isinstance(value, SecretStr)}
        return self.model_dump(mode="json") | secrets


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return a secret, given as such or by its file, without the line's end; OSError where that can't be read."""
    if value is not None:
        return value.get_secret_value()
    return None if file is None else file.read_text().rstrip("\r\n")
