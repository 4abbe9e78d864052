"""Reports: a parameterised notebook run through papermill, with a page at the end however it ends.

Read in this order:

    runs.py      run(...): reports one after another, what is skipped, what goes on
    grid.py      run_grid(...): every combination of some parameters
    plan.py      parameters and the key of a run, settled before anything starts
    record.py    the folder of a run: run.json, its lock, what a killed run left behind
    manifest.py  verify(...) and diff(...): is a run as it was, and how do two differ
    kernel.py    execute one notebook, and how it ended
    findings.py  finding(...): the answer of a report, with its number and its best figure
    reference.py  judge(...): are its numbers what they should be?
    words.py     sentences as HTML, with names that stay letters
    frame.py     the head of every page and its policy; page.css has the style
    page.py      the page of a run, after page.html.j2
    overview.py  the list of runs, with overview.js
"""

from .findings import finding
from .plan import parameters
from .runs import run
from .words import say

__all__ = ["finding", "parameters", "run", "say"]
