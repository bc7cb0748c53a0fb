"""The one error that a caller may want to tell from others."""


class TooFewWordsError(ValueError):
    """The examples hold too few word types, or too unequal ones, for inference over words."""
