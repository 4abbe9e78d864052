"""The page of `make app` in a real browser: tabs, a slider, a picture of the reader, light and dark."""

import jupyter
import numpy as np
import pytest
from chromium import Page
from PIL import Image

pytestmark = [pytest.mark.browser]
TABS = ["Degrade and restore", "Paint damage", "Routes", "Globe", "Own picture"]
SHOWN = "[...document.querySelectorAll('.slerlib-view')].find(e => e.offsetParent)"  # of the open tab


def test_the_app_has_no_code_and_every_tab_answers(tmp_path):
    with jupyter.app(tmp_path) as address, Page(address + "/", tmp_path / "profile", height=1400) as page:
        page.until(f"({SHOWN})?.dataset.frame >= 1")
        assert page.evaluate("document.querySelectorAll('.jp-InputArea-editor').length") == 0
        assert page.evaluate("[...document.querySelectorAll('.lm-TabBar-tabLabel')].map(e => e.textContent)") == TABS
        page.evaluate("document.querySelector('.noUi-handle').focus()")
        page.key("ArrowRight")
        page.until(f"({SHOWN}).dataset.frame >= 2")
        for number, name in enumerate(TABS):
            page.click(f"document.querySelectorAll('.lm-TabBar-tab')[{number}]")
            page.until(f"({SHOWN})?.dataset.frame >= 1")
            line = f"({SHOWN}).querySelector('[role=status]')"
            assert page.evaluate(f"{line}.textContent.length > 30 && !{line}.className.includes('wrong')"), name
        rng = np.random.default_rng(0)
        photograph = np.clip(rng.normal(128, 25, (120, 160, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(photograph).save(tmp_path / "grey.png")
        page.choose_file(f"({SHOWN}).closest('.widget-vbox').querySelector('input[type=file]')", tmp_path / "grey.png")
        page.until(f"{line}.textContent.startsWith('grey.png, 160 x 120 pixels: looks like noise')")
        link = page.evaluate(f"[...({SHOWN}).querySelectorAll('a')].map(a => a.download)")
        assert link == ["grey_restored.png"]
        paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
        assert page.evaluate(paper) > 200 and page.evaluate("document.body.dataset.jpThemeLight") == "true"
        page.emulate(width=420, dark=True)
        page.until("document.body.dataset.jpThemeLight === 'false'")
        assert page.evaluate(paper) < 60 and page.overflow() == 0
        assert jupyter.serious(page.complaints) == page.outside() == page.broken_images() == []
