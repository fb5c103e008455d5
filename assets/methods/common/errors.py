"""The exception for a mistake of the user; every other exception is a bug."""


class UserError(Exception):
    """A mistake that the user can correct; the message is one sentence that says what and how.

    The command line prints the message and exits with 2; Dagster shows it as the description of a
    failure. Any other exception keeps its traceback.
    """


class NotApplicableError(UserError):
    """What was asked for does not apply to a collection, such as training to photos without labels.

    The command line that asks for it prints the message; where all assets of a collection are
    materialised, the asset is skipped.
    """
