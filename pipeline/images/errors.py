"""Why an image is not there."""


class ImageError(Exception):
    """A job's image can't be had, or isn't what it should be; the text names it and shows no secrets."""
