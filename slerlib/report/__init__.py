"""Reports: a parameterised notebook run through papermill, with a page at the end however it ends.

Read in this order:

    runs.py      run(...): a folder per run, run.json, what is skipped, what goes on
    plan.py      parameters and the key of a run, settled before anything starts
    kernel.py    execute one notebook, and how it ended
    page.py      the HTML page of a run, and the list of runs
"""

from .runs import run

__all__ = ["run"]
