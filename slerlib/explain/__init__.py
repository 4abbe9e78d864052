"""One page about one photograph: what is wrong with it, what was done, and whether to trust it.

Read in this order:

    look.py     explain(model, photo): restored, and restored again along other paths
    page.py     write_page(...): the page, which opens without a network; slider.js moves its slider
"""

from .look import Explanation, explain
from .page import write_page

__all__ = ["Explanation", "explain", "write_page"]
