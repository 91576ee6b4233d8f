"""A holder with a key, and a grant that is to be sealed to it."""

from pipeline.identity import key_text
from pipeline.messages.command import GRANT, Command
from pipeline.sealing import HolderKey
from pipeline.settings import SecuritySettings, Settings

KEY = HolderKey()
HOLDER_WITH_KEY = f"w1:1000:{KEY.text}"
GIVEN = Command(GRANT, HOLDER_WITH_KEY, "f-1", 1, "c1", "t0ken", 60_000, document='{"params": {"x": "pr1vate\\n"}}')
#: a point of small order: nothing can be agreed upon with it
NO_POINT = f"w1:1000:{key_text(bytes(32))}"
SEALING = Settings(security=SecuritySettings(sealing=True))
