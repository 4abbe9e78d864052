"""Two runs, picture by picture: paired differences with intervals.

Read in this order:

    compare.py     which rows pair up, differences, routes
    result.py      the comparison: tables, verdict, both in words and as JSON
    pictures.py    crops side by side
"""
