"""How routes change with the severity, between the parents of a mixture, and for an untrained degradation.

The functions read `Traces` and run no network. Means have a 95 % bootstrap interval over photographs, NaN for fewer
than 5.
Legend: N images, L layers, K anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..config import CLASSES
from ..errors import UserError
from ..evaluation.metrics import FEWEST_SCENES
from .chance import mean_interval, usual_experts

if TYPE_CHECKING:
    from pandas import DataFrame

    from .store import Traces


def severity_table(traces: Traces, reference: Traces) -> DataFrame:
    """One row per degradation and severity: how much of the route is that of clean, and how much that of the class.

    traces: degradations at several severities. reference: images at the usual severity, "clean" among them; of each
        layer the expert that most of them take counts as that of the class (noise25 also for "noise").
    Columns: degradation, severity, n, own and clean (mean share of layers with that expert, with _low and _high), angle
    (mean degrees to the nearest anchor), nearest (the anchor that is nearest most often).
    Raises UserError without clean images, or without reference images of a degradation.
    """
    import pandas as pd

    paths = {label: usual_experts(reference.path[rows]) for label, rows in _rows(reference).items()}
    rows = []
    for label, where in _rows(traces).items():
        home = label if label in paths else "noise25" if label == "noise" else None
        if home not in paths or "clean" not in paths:
            raise UserError(
                f"A severity curve needs reference images of its degradation and of clean; for {label!r} there are "
                f"{', '.join(paths)}. Add them to the reference."
            )
        severities = traces.table.severity.to_numpy()[where]
        for severity in np.unique(severities):
            part = where[np.isnan(severities) if np.isnan(severity) else severities == severity]
            scene = traces.table.scene.to_numpy()[part]
            row = {"degradation": label, "severity": severity, "n": len(part)}
            for name, path in (("own", paths[home]), ("clean", paths["clean"])):
                row |= mean_interval(name, (traces.path[part] == path).mean(axis=1), scene)
            nearest = traces.anchor_angle[part].argmin(axis=1)
            row["angle"] = traces.anchor_angle[part].min(axis=1).mean()
            row["nearest"] = traces.anchor_names[np.bincount(nearest).argmax()]
            rows.append(row)
    return pd.DataFrame(rows)


def mixture_table(traces: Traces) -> DataFrame:
    """Does a mixture such as "rain+blur" lie between its parents? One row per mixture in `traces`.

    Columns: mixture, n, angle_first and angle_second (mean degrees to the anchors of the parents), angle_apart (between
    those anchors), off_arc (angle_first + angle_second - angle_apart; 0 = the image lies on the arc), first, second,
    both, neither (mean share of layers whose expert is the most used one of the first parent alone, of the second
    alone, of both, of neither; neither with _low and _high), neither_others (the same for the images of all
    other single degradations, NaN without any), neither_random (for uniformly drawn experts). Angles are NaN for a
    parent without an anchor. Raises UserError for traces without a parent, and for mixtures of three.
    """
    import pandas as pd

    where, names, rows = _rows(traces), list(traces.anchor_names), []
    for label in [label for label in where if "+" in label]:
        parents = label.split("+")
        if len(parents) != 2 or not set(parents) <= set(where):
            raise UserError(
                f"A mixture of two is compared with its parents; got {label!r} in traces of {', '.join(where)}. Add "
                "its parents, or leave out mixtures of three with traces.select."
            )
        part, scene = where[label], traces.table.scene.to_numpy()[where[label]]
        first, second = (usual_experts(traces.path[where[parent]]) for parent in parents)
        unrelated = [other for other in where if other not in parents and "+" not in other]
        others = np.flatnonzero(np.isin(traces.table.label.to_numpy(), unrelated))
        on = [traces.path == path for path in (first, second)]
        neither = ~on[0] & ~on[1]
        anchors = [traces.anchors[names.index(parent)] if parent in names else None for parent in parents]
        angles = [_degrees(traces.embedding[part], a) if a is not None else np.full(len(part), np.nan) for a in anchors]
        apart = np.nan if any(a is None for a in anchors) else _degrees(anchors[0][None], anchors[1])[0]
        row = {"mixture": label, "n": len(part), "angle_first": angles[0].mean(), "angle_second": angles[1].mean()}
        row |= {"angle_apart": apart, "off_arc": (angles[0] + angles[1] - apart).mean()}
        row |= {"first": (on[0] & ~on[1])[part].mean(), "second": (on[1] & ~on[0])[part].mean()}
        row |= {"both": (on[0] & on[1])[part].mean()} | mean_interval("neither", neither[part].mean(axis=1), scene)
        row["neither_others"] = neither[others].mean() if len(others) else np.nan
        experts = traces.similarity.shape[-1]
        row["neither_random"] = np.where(first == second, 1 - 1 / experts, 1 - 2 / experts).mean()
        rows.append(row)
    return pd.DataFrame(rows)


def novelty_table(traces: Traces, trained: Sequence[str] = CLASSES, draws: int = 1000, seed: int = 0) -> DataFrame:
    """How well angle and margin detect images of an untrained degradation among trained ones: area under the ROC curve.

    Every label of the traces outside `trained` is compared with all images of `trained`. Columns: degradation, signal
    ("angle" to the nearest anchor, large for untrained; "margin", the smallest of the layers, small for untrained),
    auc, auc_low, auc_high (bootstrap over photographs), n, nearest (the anchor that is nearest most often) and
    nearest_share. 0.5 is chance. Raises UserError if either side is empty.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    label = traces.table.label.to_numpy()
    inside = np.isin(label, trained)
    new = list(dict.fromkeys(label[~inside]))
    if not new or not inside.any():
        raise UserError(f"A detector is tried on trained and untrained degradations; got only {sorted(set(label))}.")
    scene = np.unique(traces.table.scene.astype(str), return_inverse=True)[1]
    signals = {"angle": traces.anchor_angle.min(axis=1), "margin": -traces.margin.min(axis=1)}
    rows = []
    for name in new:
        part = np.flatnonzero(inside | (label == name))
        unseen = ~inside[part]
        nearest = np.bincount(traces.anchor_angle[label == name].argmin(axis=1))
        numbers = {"n": int(unseen.sum()), "nearest": traces.anchor_names[nearest.argmax()]}
        numbers["nearest_share"] = nearest.max() / unseen.sum()
        members = [np.flatnonzero(scene[part] == g) for g in np.unique(scene[part])]
        enough = min(len(set(scene[label == name])), len(set(scene[inside]))) >= FEWEST_SCENES
        for signal, values in signals.items():
            rng, drawn = np.random.default_rng(seed), []
            for _ in range(draws if enough else 0):
                rows_S = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
                if 0 < unseen[rows_S].sum() < len(rows_S):
                    drawn.append(roc_auc_score(unseen[rows_S], values[part][rows_S]))
            low, high = np.quantile(drawn, [0.025, 0.975]) if enough else (np.nan, np.nan)
            auc = roc_auc_score(unseen, values[part])
            rows.append({"degradation": name, "signal": signal, "auc": auc, "auc_low": low, "auc_high": high} | numbers)
    return pd.DataFrame(rows)


def _rows(traces: Traces) -> dict[str, np.ndarray]:
    """Row numbers of each label, in the order of first appearance."""
    label = traces.table.label.to_numpy()
    return {name: np.flatnonzero(label == name) for name in dict.fromkeys(label)}


def _degrees(x_ND: np.ndarray, y_D: np.ndarray) -> np.ndarray:
    import torch

    from ..sphere import angle

    return angle(torch.as_tensor(x_ND).double(), torch.as_tensor(y_D).double()).numpy()
