"""Errors whose message is all that a person needs: bad input, and a lost process of several."""


class UserError(ValueError):
    """Bad input. The message is one paragraph: the rule, the value received, the next step.

    The command line prints it without a traceback and ends with exit code 1.
    """


class ProcessLost(ConnectionError):
    """Of several processes that train together another one ended; the message says why, and how to go on."""
