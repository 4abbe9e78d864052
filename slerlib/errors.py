"""The one exception that means "the input was wrong, not the program"."""


class UserError(ValueError):
    """Bad input. The message is one paragraph: the rule, the value received, the next step.

    The command line prints it without a traceback and ends with exit code 1.
    """
