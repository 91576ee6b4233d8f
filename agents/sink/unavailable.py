"""What makes the sink wait and try again."""


class UnavailableError(Exception):
    """Elasticsearch is away, overloaded, or refuses for a reason that isn't the document's."""
