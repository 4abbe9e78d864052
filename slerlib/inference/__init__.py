"""Restore pictures of any size with a trained network.

Read in this order:

    load.py       find a checkpoint, choose the device, evaluation mode
    restore.py    one picture: file, PIL image, array or tensor in, the same kind out
    tiles.py      a picture too large for one piece
    jobs.py       which pictures of a folder, and where each result goes
    folders.py    files and folders, for `slerlib restore`
    memory.py     how the C library gives memory back
"""
