"""Data: seeded degradations, synthetic depth and the photographs that come with the installed packages.

Submodules are imported by name (``from slerlib.data.degrade import degrade``), so that nothing heavy loads here.
"""
