"""The one exception a user's mistake raises."""


class UserError(ValueError):
    """A mistake of the user's, told in one sentence: what is wrong, where, what was expected, what to do."""
