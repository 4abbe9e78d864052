"""Restore pictures of any size with a trained network.

Read in this order:

    load.py       find a checkpoint, choose the device, evaluation mode
    restore.py    one picture: file, PIL image, array or tensor in, the same kind out
    evidence.py   signs of damage that the network was never trained for
    parts.py      the path alone, and a part along several paths
    tiles.py      a picture too large for one piece
    look.py       the encoder's look at such a picture; statistics.py: what gates of own classes want to know of it
    stream.py     a picture by rows, from file to file: memory follows the tile
    jobs.py       which pictures of a folder, and where each result goes
    ahead.py      the next picture of a folder, read by a thread
    threads.py    how many threads restore fastest here
    folders.py    files and folders, for `slerlib restore`
    memory.py     how much memory a picture needs and how much there is
"""
