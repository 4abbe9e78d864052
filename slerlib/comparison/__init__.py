"""Two runs, picture by picture: paired differences with intervals.

Read in this order:

    compare.py     the comparison: which rows pair up, differences, routes
    text.py        the same in words and as JSON
    pictures.py    crops side by side
"""
