"""Explorers under a fast hand: the last setting is what is shown, and the clock of their benchmark counts it once."""

import json
import random
import sys
import threading
from pathlib import Path

import chromium
import pytest
import torch

from slerlib.widgets.explorer import Explorer, slider
from slerlib.widgets.frames import Look, jpeg

ROOT = Path(__file__).resolve().parent.parent


class Alone(chromium.Page):
    """A page without JupyterLab: one explorer, and no wait of minutes."""

    def find(self, name: str, selector: str) -> str:
        return f"document.querySelector({json.dumps(selector)})"

    def until(self, script: str, seconds: float = 20):
        return super().until(script, seconds)


def test_the_last_of_many_changes_from_two_threads_is_shown():
    looks = []

    def look(a: float, b: float) -> Look:
        looks.append((a, b))
        if round(10 * a) % 5 == 0:
            raise RuntimeError(f"{a} {b}")
        return Look(f"{a} {b}", (), {})

    shown = Explorer("Fast", lambda: {name: slider(name, 0.3, 0.1) for name in "ab"}, look, list)
    shown.refresh()
    old, errors = sys.getswitchinterval(), []
    sys.setswitchinterval(1e-5)

    def hand(seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(200):
                name, value = draw.choice("ab"), round(draw.random(), 1)
                if seed:  # as JupyterLab does, in its thread for widgets
                    shown.controls[name].set_state({"value": value})
                else:  # as a cell does
                    shown.set(**{name: value})
        except BaseException as error:
            errors.append(error)

    try:
        threads = [threading.Thread(target=hand, args=(seed,), daemon=True) for seed in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(old)
    assert not any(thread.is_alive() for thread in threads) and errors == []
    last = tuple(control.value for control in shown.controls.values())
    assert looks[-1] == last and shown._view.frame["line"] == f"{last[0]} {last[1]}"
    assert shown._view.frame["number"] == len(looks)


@pytest.mark.browser
def test_the_view_ends_with_the_last_frame_and_never_goes_back(tmp_path):
    large, small = ([*jpeg(torch.rand(3, side, side))] for side in (900, 16))
    script = (ROOT / "slerlib/widgets/view.js").read_text(encoding="utf-8").replace("export default", "const widget =")
    (tmp_path / "page.html").write_text(
        f"""<!DOCTYPE html><title>view</title><div id="view"></div><script type="module">
        const files = {{ large: new Uint8Array({large}), small: new Uint8Array({small}) }};
        {script}
        let frame = {{ number: 0 }}, draw = null;
        window.seen = [];
        const el = document.getElementById("view");
        widget.render({{ el, model: {{ get: () => frame, on: (name, call) => {{ draw = call; }}, off: () => {{}} }} }});
        new MutationObserver(() => window.seen.push(Number(el.dataset.frame))).observe(el, {{ attributes: true }});
        window.show = (sizes, wrong) => {{
          const pictures = sizes.map((size) => ({{
            title: size, note: "", alt: size, data: files[size], width: 9, height: 9, wide: 9 }}));
          frame = {{ number: frame.number + 1, line: `line ${{frame.number + 1}}`, wrong, pictures, drawings: "" }};
          draw();
        }};
        </script>""",
        encoding="utf-8",
    )
    with Alone(tmp_path / "page.html", tmp_path / "profile") as page:
        page.until("!!window.show")
        for number, (sizes, wrong) in enumerate([(["small"], False), ([], False), ([], True)], 1):
            page.evaluate("show(['large', 'large'], false)")
            slow = "Promise.allSettled([...document.images].map((image) => image.decode()))"
            page.evaluate(f"window.settled = false; {slow}.then(() => setTimeout(() => {{ settled = true; }}, 300)); 0")
            page.evaluate(f"show({json.dumps(sizes)}, {json.dumps(wrong)})")
            page.until("settled")
            assert page.evaluate("document.getElementById('view').dataset.frame") == str(2 * number)
            assert page.evaluate("document.querySelector('.line').textContent") == f"line {2 * number}"
        seen = page.evaluate("window.seen")
        assert seen == sorted(seen) and page.complaints == []


@pytest.mark.browser
def test_the_benchmark_counts_each_picture_once_in_every_round(tmp_path, script):
    benchmark = script("explorers")
    (tmp_path / "page.html").write_text(
        """<!DOCTYPE html><title>slider</title><div class="slerlib-live" data-frame="1"></div>
        <div class="noUi-handle" tabindex="0">a slider of 20 steps; a key at its end changes nothing</div><script>
        let value = 10;
        const view = document.querySelector(".slerlib-live");
        document.querySelector(".noUi-handle").addEventListener("keydown", (event) => {
          const next = Math.min(Math.max(value + (event.key === "ArrowRight" ? 1 : -1), 0), 20);
          if (next !== value) setTimeout(() => { view.dataset.frame = Number(view.dataset.frame) + 1; }, 5);
          value = next;
        });</script>""",
        encoding="utf-8",
    )
    with Alone(tmp_path / "page.html", tmp_path / "profile") as page:
        for number in (1, 2, 3):
            assert benchmark.on_the_screen(page, "a", 8)["n"] == 8
            assert page.evaluate("Number(document.querySelector('.slerlib-live').dataset.frame)") == 8 * number + 1
