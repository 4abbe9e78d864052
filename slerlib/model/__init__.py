"""The network SLER-IR.

Read in this order:

    encoder.py    picture -> CLS token and patch tokens
    windows.py    the same for a picture larger than the training context
    fusion.py     tokens -> point on the sphere and guide map (GLGF)
    router.py     point -> expert of each layer (pins, anchors, the trace)
    blocks.py     the two kinds of block: NAF and Restormer
    experts.py    a stage: three experts, each image through its own
    network.py    SLERIR: the U-Net of 8 stages along that path

    paths.py      paths in any form -> expert numbers, and as digits
    wrappers.py   the network behind torch.compile, DataParallel, ...
    export.py     a network along one path outside slerlib: torch.export and ONNX
"""
