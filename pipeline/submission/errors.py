"""Why a submission is not accepted."""


class UnacceptableError(ValueError):
    """The submission can be named but not accepted; the text tells its sender what to change."""


class CreatorsError(ValueError):
    """The operator's creators can't be used: the text names the file or function and what is wrong with it."""
