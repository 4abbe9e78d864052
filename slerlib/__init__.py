"""slerlib: SLER-IR (arXiv 2603.05940), all-in-one image restoration by experts chosen on a sphere of degradations.

    import slerlib
    model = slerlib.load("tiny")
    picture = slerlib.restore(model, "photo.jpg")

Nothing heavy loads here: pandas, matplotlib, scikit-image, umap and papermill are imported where they are needed.
"""

from . import config, sphere
from .analysis.embedding import embed
from .analysis.routing import routing_table
from .checkpoint import save
from .comparison.compare import compare
from .data.degrade import DEGRADATIONS, degrade
from .errors import UserError
from .evaluation.evaluate import evaluate
from .evaluation.metrics import bootstrap_interval, psnr, ssim, ssim_gaussian
from .evaluation.published import comparability, published
from .evaluation.results import save_results
from .evaluation.table import modal_paths, summary
from .inference.load import load
from .inference.restore import restore
from .model.network import SLERIR, parameter_counts
from .model.router import Trace
from .provenance import VERSION

__version__ = VERSION

__all__ = [
    "DEGRADATIONS",
    "SLERIR",
    "Trace",
    "UserError",
    "bootstrap_interval",
    "comparability",
    "compare",
    "config",
    "degrade",
    "embed",
    "evaluate",
    "load",
    "modal_paths",
    "parameter_counts",
    "psnr",
    "published",
    "restore",
    "routing_table",
    "save",
    "save_results",
    "sphere",
    "ssim",
    "ssim_gaussian",
    "summary",
]
