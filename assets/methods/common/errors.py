"""The exception for a mistake of the user; every other exception is a bug."""


class UserError(Exception):
    """A mistake that the user can correct; the message is one sentence that says what and how.

    The command line prints the message and exits with 2; Dagster shows it as the description of a
    failure. Any other exception keeps its traceback.
    """
