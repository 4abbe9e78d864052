"""A training in a notebook while it runs: its state, its curves, a picture restored by its last save."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from .. import plots
from ..errors import UserError
from ..evaluation.metrics import psnr
from ..inference.load import load
from ..inference.restore import restore
from ..plots.pictures import decibels
from ..plots.style import show_figure
from ..train.background import Progress, follow, read_log, read_validation

SHARE = 4  # a drawing may take one part of so many of the time: the rest belongs to the training


def watch(
    out: str | Path, degraded_CHW: Tensor, clean_CHW: Tensor, until: int | None = None, every: float = 2.0
) -> Progress:
    """Follow the training in `out`: its state, its curves, and the picture as its last save restores it.

    The drawings take the place of those before. degraded_CHW, clean_CHW: a picture in [0, 1] and its clean image.
    until, every: as for `slerlib.train.background.follow`, as are the errors and what an interrupt does.
    """
    return follow(out, every=every, until=until, show=_View(Path(out), degraded_CHW, clean_CHW, until))


class _View:
    """What `watch` shows; called with the progress at each look."""

    def __init__(self, out: Path, degraded_CHW: Tensor, clean_CHW: Tensor, until: int | None):
        self.out, self.degraded, self.clean, self.until = out, degraded_CHW, clean_CHW, until
        self.places: dict[str, str] = {}  # display ids of what is on the page
        self.drawn, self.free = -1, 0.0  # step of the drawing; time from which on another one may begin
        self.restored: tuple[int, Tensor] | None = None  # step and picture of the save that is shown

    def __call__(self, state: Progress) -> None:
        self._text(f"{time.strftime('%H:%M:%S')}  {state}")
        ends = not state.running or (self.until is not None and state.step >= self.until)
        if state.step == self.drawn or (time.monotonic() < self.free and not ends):
            return
        begun = time.monotonic()
        log = read_log(self.out)
        if len(log):
            self._put("curves", plots.training_curves(log, read_validation(self.out)))
        if state.saved and (self.restored is None or self.restored[0] != state.saved):
            self._restore()
        self.drawn, now = state.step, time.monotonic()
        self.free = now + (SHARE - 1) * (now - begun)

    def _restore(self) -> None:
        with suppress(UserError):  # between the two files of a save they do not fit; the next look finds them whole
            net = load(self.out, "cpu")
            step, picture = net.card["steps_done"], restore(net, self.degraded)
            self.restored = (step, picture)
            shown = (("degraded", self.degraded), (f"step {step}", picture), ("clean", self.clean))
            rows = [(f"{name}, {decibels(psnr(x, self.clean), 1)}" if x is not self.clean else name, x)
                    for name, x in shown]  # fmt: skip
            self._put("picture", plots.picture_row(rows))

    def _put(self, name: str, figure) -> None:
        show_figure(figure, **self._place(name))

    def _text(self, line: str) -> None:
        from IPython.display import display

        display({"text/plain": line}, raw=True, **self._place("text"))

    def _place(self, name: str) -> dict[str, str | bool]:
        """Where a thing is shown: a new place the first time, afterwards the same."""
        again = name in self.places
        return {"display_id": self.places.setdefault(name, uuid4().hex), "update": again}
