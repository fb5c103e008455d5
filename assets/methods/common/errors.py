"""The one exception that stands for a mistake of the user rather than of the program."""


class UserError(Exception):
    """Something the user can mend; the message is one sentence that says what and how.

    The command line prints the message and exits with 2, Dagster shows it as a failure's
    description. Anything else that is raised is a bug and keeps its traceback.
    """
