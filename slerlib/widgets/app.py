"""All explorers as one page without code: `make app` serves it with Voila, notebooks/app.ipynb calls it.

Light or dark follows the theme of the page.
"""

from __future__ import annotations

from ..inference.load import load
from .degrading import degrade_and_restore
from .own import own_picture
from .painting import paint
from .routing import route
from .turning import globe

PHOTOGRAPH = "cat"


def app(checkpoint: str = "tiny"):
    """The page: tabs with the explorers, each made when its tab is opened first.

    checkpoint: name or folder of the network. Raises UserError as `slerlib.load`.
    """
    from ipywidgets import HTML, Tab, VBox

    from ..data.scenes import photographs

    scene = next(scene for scene in photographs() if scene.name == PHOTOGRAPH)
    model = load(checkpoint)
    tabs = {
        "Degrade and restore": (
            lambda: degrade_and_restore(model, scene.image),
            "Move the controls: what does it see?",
        ),
        "Paint damage": (lambda: paint(model, scene.image), "Paint damage with the mouse: is it seen where it is?"),
        "Routes": (lambda: route(model, scene.image), "Choose the expert of each layer: what does another path cost?"),
        "Globe": (lambda: globe(model, scene.image), "Turn the sphere of degradations: where does a picture lie?"),
        "Own picture": (lambda: own_picture(model), "Your own picture: it stays on the machine that serves this page."),
    }
    pages = [VBox([HTML(f"<p>{words}</p>")]) for _, words in tabs.values()]
    tab = Tab(pages, titles=list(tabs), layout={"max_width": "100%"})

    def show(change=None) -> None:
        page, (make, _) = pages[tab.selected_index or 0], list(tabs.values())[tab.selected_index or 0]
        if len(page.children) == 1:
            explorer = make()
            explorer.refresh()
            page.children = (*page.children, explorer.panel)

    tab.observe(show, "selected_index")
    tab.selected_index = 0
    show()
    credit = f"Photograph: {scene.credit} ({scene.licence}). Network: {checkpoint}."
    return VBox([tab, HTML(f"<p>{credit}</p>")], layout={"max_width": "100%"})
