"""What of the settings the ledger decides by."""

from pipeline.ledger.policy import Policy
from pipeline.settings import Settings


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings ask for."""
    known = settings.ledger.model_dump() | settings.security.model_dump()
    return Policy(**{name: known[name] for name in Policy.__dataclass_fields__})
