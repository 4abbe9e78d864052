"""Measures of the routes and of the sphere, over many images.

Read in this order:

    trace.py         one pass over a data set: embedding and route of each image, with a cache
    store.py         the table of traces, saved and loaded
    routing.py       which expert serves which degradation
    geometry.py      how the classes lie on the sphere
    forming.py       the sphere while a training forms it
    embedding.py     maps: UMAP on a sphere or a plane, PCA
    partitions.py    two groupings of the same images compared
    chance.py        the same numbers for random routes and shuffled labels
    doubt.py         when a route is doubtful: limits measured on photographs
    unseen.py        when damage is unlike the trained: a rule fitted on photographs
    bench.py         images encoded once, then restored along any path
    causal.py        the effect of a route on the picture: path-swap, knock-out, walks between anchors
    sweeps.py        routes by severity, of mixtures, of an untrained degradation
    guide.py         does the guide map show where damage is?
"""
