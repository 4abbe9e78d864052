"""What the router did and what the sphere looks like, for many images.

Read in this order:

    trace.py         one pass over a data set: embedding and route of each image, with a cache
    store.py         the table of traces, saved and loaded
    routing.py       which expert serves which degradation
    geometry.py      how the classes lie on the sphere
    embedding.py     maps: UMAP on a sphere or a plane, PCA
    partitions.py    two groupings of the same images compared
    chance.py        the same numbers for random routes and shuffled labels
    bench.py         cases and forced paths that the causal measures share
    causal.py        what a route does to the picture: path-swap, knock-out, walks between anchors
    sweeps.py        a measure along severity or along the arc between two anchors
    guide.py         what the guide map does
"""
