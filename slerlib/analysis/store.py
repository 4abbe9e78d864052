"""The store of traces: the place of each image on the sphere, its route, and its PSNR.

    traces = Traces.load("traces.npz")
    traces.table; traces.embedding; traces.select(traces.table.label == "rain")

A row takes about 450 bytes, without its image: half a gigabyte for a million.
Legend: N rows (images or crops), L layers, E experts, K anchors, D embedding dimension.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import config
from ..config import LAYERS
from ..errors import UserError
from ..files import save_arrays
from ..model.network import SLERIR
from ..model.router import Trace

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("scene", "dataset", "label", "severity", "seed", "view", "psnr_input", "psnr")
TEXT = ("scene", "dataset", "label", "view")
PER_ROW = ("embedding", "path", "similarity", "margin", "anchor_angle")


@dataclass(frozen=True)
class Traces:
    """How N images or crops were encoded, routed and restored by one network."""

    table: DataFrame  # N rows of COLUMNS; severity and psnr are NaN for rows without a severity, or not restored
    embedding: np.ndarray  # (N, D) float32
    path: np.ndarray  # (N, L) int8
    similarity: np.ndarray  # (N, L, E) float32
    margin: np.ndarray  # (N, L) float32
    anchor_angle: np.ndarray  # (N, K) float32, degrees
    anchor_names: tuple[str, ...]
    anchors: np.ndarray  # (K, D) float32
    pins: np.ndarray  # (L, E, D) float32; (L, 0, D) for a network with one expert
    checkpoint: str  # hash of weights and configuration

    def __len__(self) -> int:
        return len(self.embedding)

    def __repr__(self) -> str:
        layers, experts = self.similarity.shape[1:]
        return f"Traces of {len(self)} rows, {layers} layers with {experts} experts; columns: {', '.join(self.table)}"

    @classmethod
    def from_trace(cls, model: SLERIR, trace: Trace, table: DataFrame) -> Traces:
        """From the trace of a batch and a table of its rows; columns that the table lacks are left empty."""
        missing = {name: "" if name in TEXT else math.nan for name in COLUMNS if name not in table}
        table = table.assign(**missing)[list(COLUMNS)].reset_index(drop=True)
        if len(table) != len(trace.path):
            raise UserError(f"A table needs one row per image of the trace; got {len(table)} and {len(trace.path)}.")
        router = model.router
        pins = router.pins if router.experts > 1 else torch.empty(LAYERS, 0, router.anchors.shape[1])
        rows = (trace.embedding, trace.path, trace.similarity, trace.margin, trace.anchor_angle)
        arrays = [x.detach().cpu().numpy().astype(np.int8 if x is trace.path else np.float32) for x in rows]
        anchors, pins = (x.detach().cpu().numpy().astype(np.float32) for x in (router.anchors, pins))
        return cls(table, *arrays, trace.anchor_names, anchors, pins, network_hash(model))

    @classmethod
    def concatenate(cls, parts: Sequence[Traces]) -> Traces:
        """The rows of all, in order. Raises UserError for none, and for traces of different networks."""
        import pandas as pd

        if not parts:
            raise UserError("Traces are joined from at least one part; got none. Check that the data have images.")
        if (networks := len({part.checkpoint for part in parts})) > 1:
            raise UserError(
                "Traces are joined within one network, because each network has its own sphere; got traces of "
                f"{networks} networks. Compare them with slerlib.embed([a, b])."
            )
        rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_ROW}
        return replace(parts[0], table=pd.concat([part.table for part in parts], ignore_index=True), **rows)

    def append(self, other: Traces) -> Traces:
        """These rows and then the other's."""
        return Traces.concatenate([self, other])

    def select(self, mask) -> Traces:
        """The rows of a Boolean mask or of row numbers."""
        mask = np.asarray(mask)
        mask = mask if mask.size else mask.astype(int)  # an empty list has no type of its own
        rows = {name: getattr(self, name)[mask] for name in PER_ROW}
        chosen = mask.nonzero()[0] if mask.dtype == bool else mask
        return replace(self, table=self.table.iloc[chosen].reset_index(drop=True), **rows)

    def save(self, path: str | os.PathLike) -> Path:
        """One .npz with the table inside and a hash of everything; written whole or not at all."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("table", "anchor_names")}
        for name in COLUMNS:
            column = self.table[name].to_numpy()
            if name in TEXT:
                arrays[f"table.{name}.values"], column = np.unique(column.astype(str), return_inverse=True)
            arrays[f"table.{name}"] = column
        arrays |= {"anchor_names": np.array(self.anchor_names), "checkpoint": np.array(self.checkpoint)}
        return save_arrays(Path(path), sha256=np.array(_digest(arrays)), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Traces:
        """Raises UserError for a file that is missing, damaged or not written by `save`."""
        import pandas as pd

        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays.pop("sha256")) != _digest(arrays):
                raise ValueError("its arrays do not match the hash written into it")
            columns = {name: arrays.pop(f"table.{name}") for name in COLUMNS}
            for name in TEXT:
                columns[name] = arrays.pop(f"table.{name}.values")[columns[name]].astype(object)
            names, checkpoint = tuple(arrays.pop("anchor_names").tolist()), str(arrays.pop("checkpoint"))
            return cls(table=pd.DataFrame(columns), anchor_names=names, checkpoint=checkpoint, **arrays)
        except Exception as error:  # zipfile, numpy and zlib each have their own for a damaged file
            raise UserError(
                f"Traces are read from a file that Traces.save wrote; {path} is missing, damaged or another file "
                f"({type(error).__name__}: {error}). Delete it and collect again."
            ) from None


def network_hash(model: SLERIR) -> str:
    """SHA-256 of the present configuration and weights, so that further training and `set_tlc` change it."""
    now = replace(model.cfg, tlc_window=model.tlc_window)
    total = hashlib.sha256(json.dumps(config.to_dict(now), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return total.hexdigest()


def _digest(arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        total.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        total.update(np.ascontiguousarray(value).data)
    return total.hexdigest()
