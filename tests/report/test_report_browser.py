"""The page in a real browser. If these fail, it looks right to a parser and broken to a reader."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.build import BuiltReport
from bench.report.document import Figure

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

PROBE = """<script>
const table = document.querySelector("table.scores"), report = document.body.dataset;
const shown = "tr.row:not(.hidden) td.method";
const order = () => [...table.tBodies[0].querySelectorAll(shown)].map((c) => c.textContent.trim());
const press = (name) => table.querySelector(`th.${name} button`).click();
press("score"); report.high = order().join(",");
press("score"); report.low = order().join(",");
press("difference"); report.difference = order().join(",");
const filter = document.getElementById("filter");
filter.value = "recon 5w10s"; filter.dispatchEvent(new Event("input"));
report.filtered = order().join(",");
report.hidden = document.querySelectorAll("tr.setting.hidden").length;
report.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
report.plots = [...document.querySelectorAll("svg.plot")].filter((s) => s.getBoundingClientRect().height > 60).length;
const overview = document.querySelector("#overview table"), names = () => [...overview.tBodies[0].rows].map((r) =>
  r.cells[0].textContent.trim()).join(",");
overview.querySelector("th.rank button").click(); overview.querySelector("th.rank button").click();
report.ranked = names();
report.links = [...document.querySelectorAll("a.self")].filter((a) => document.querySelector(a.hash)).length;
report.parts = document.querySelectorAll("section[id], h3[id], h4[id]").length;
report.requests = performance.getEntriesByType("resource").length;
</script></body>"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        assert BROWSER is not None
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
        place = f"--user-data-dir={tmp_path / 'profile'}"
        return subprocess.run(
            [BROWSER, *flags, "--enable-logging=stderr", place, *options], capture_output=True, text=True, timeout=120
        )

    return run


def test_page_sorts_filters_and_stays_quiet(full: BuiltReport, tmp_path: Path, browse: Callable[..., Any]) -> None:
    """Tables sort by number and filter by words, plots are drawn, nothing is fetched, nothing is complained about."""
    page = tmp_path / "index.html"
    page.write_text(full.html.read_text().replace("</body>", PROBE))
    done = browse("--window-size=1440,1000", "--dump-dom", page.as_uri())
    found = dict(re.findall(r'data-([a-z]+)="([^"]*)"', re.findall(r"<body[^>]*>", done.stdout)[0]))
    assert found["high"] == "recon,point-mae,scratch (recon),scratch (point-mae)"
    assert found["low"] == "scratch (point-mae),scratch (recon),point-mae,recon"
    assert found["difference"].startswith("recon,point-mae,scratch")
    assert found["filtered"] == "recon,scratch (recon)"
    assert int(found["hidden"]) == 3 * (3 + 1) + 1
    assert found["ranked"].startswith("recon †,point-mae"), (
        "ranks sort as numbers, the first press puts the highest first"
    )
    assert found["links"] == found["parts"], "every part has a link to itself"
    assert found["wide"] == "false"
    assert int(found["plots"]) == sum(isinstance(block, Figure) for block in full.document.walk()) >= 7 + 2 + 2
    assert found["requests"] == "0"
    assert done.stdout.count('<table class="scores">') == 7
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_page_is_drawn_in_light_and_dark(one_seed_page: Path, tmp_path: Path, browse: Callable[..., Any]) -> None:
    """A page that stays white in the dark, or draws nothing, would be noticed by readers only."""
    from PIL import Image

    corner, colours = {}, {}
    for name, scheme in (("light", 1), ("dark", 0)):
        shot = tmp_path / f"{name}.png"
        browse(
            f"--screenshot={shot}",
            "--window-size=1200,1400",
            f"--blink-settings=preferredColorScheme={scheme}",
            one_seed_page.as_uri(),
        )
        image = Image.open(shot).convert("RGB")
        corner[name] = image.getpixel((2, 2))
        colours[name] = len(image.getcolors(image.width * image.height))
    assert corner == {"light": (0xF4, 0xF5, 0xF7), "dark": (0x12, 0x16, 0x1C)}
    assert min(colours.values()) > 100


def test_nothing_is_cut_at_the_edge(one_seed_page: Path, tmp_path: Path, browse: Callable[..., Any]) -> None:
    """Columns beyond the edge of a screen or a phone are not seen, and nothing says that they are there."""
    probe = """<script>
    const edge = document.documentElement.clientWidth, boxes = (e) => e.getBoundingClientRect();
    const wide = [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, figure"));
    document.body.dataset.beyond = wide.filter((e) => boxes(e).width && boxes(e).right > edge + 1).length;
    document.body.dataset.first = boxes(document.querySelector("table")).top;
    document.body.dataset.edge = edge;
    </script></body>"""
    opened = one_seed_page.read_text().replace("<details>", "<details open>")  # what is folded must fit, too
    (tmp_path / "index.html").write_text(opened.replace("</body>", probe))
    frame = tmp_path / "frame.html"  # a browser without a screen makes no window as narrow as a phone
    frames = [f'<iframe src="index.html" style="width:{width}px;height:800px"></iframe>' for width in (1280, 390)]
    script = """<script>onload = () => {
        for (const shown of document.querySelectorAll("iframe"))
            shown.title = JSON.stringify({...shown.contentDocument.body.dataset});
    };</script>"""
    frame.write_text("".join(frames) + script)
    done = browse("--allow-file-access-from-files", "--window-size=1400,900", "--dump-dom", frame.as_uri())
    found = [json.loads(html.unescape(title)) for title in re.findall(r'title="([^"]*)"', done.stdout)]
    assert [one["beyond"] for one in found] == ["0", "0"]
    assert [int(one["edge"]) // 100 for one in found] == [12, 3], "one as wide as a screen, one as a phone"
    assert all(float(one["first"]) < 4 * 844 for one in found), "with all that is folded above it opened"
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
