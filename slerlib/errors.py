"""Errors whose message is all that a person needs: bad input, and a process that was lost."""


class UserError(ValueError):
    """Bad input. The message is one paragraph: the rule, the value received, the next step.

    The command line prints it without a traceback and ends with exit code 1.
    """


class ProcessLost(ConnectionError):
    """Another of the processes that train together has ended; the message gives the reason and the next step."""
