"""A real browser opens notebooks in JupyterLab: cells run, figures are drawn, sliders and the mouse move them, and nothing complains.

Needs the extra ``browser`` and Chromium; skipped without them, unless VRN_LITE_BROWSER is ``required``. Pictures of the figures are
kept in the folder VRN_LITE_SCREENSHOTS, where it is set.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrast import contrast

ROOT = Path(__file__).parents[1]
LESSONS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem[:2] in ("00", "01")]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("playwright", "jupyterlab") if importlib.util.find_spec(name) is None] + ([] if CHROMIUM else ["chromium"])
REQUIRED = os.environ.get("VRN_LITE_BROWSER") == "required"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING) and not REQUIRED, reason=f"no {', '.join(MISSING)}: pip install -e '.[browser]', and Chromium on the path"),
]

DRAWS_WITHOUT_A_GPU = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
ASKS_NOBODY = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
BADGES = ("https://colab.research.google.com/assets/colab-badge.svg", "https://mybinder.org/badge_logo.svg")
BADGE = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"/>'
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false"},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page
}
QUIET = ".modebar, .hoverlayer { visibility: hidden }"  # what comes and goes with the pointer
PATIENCE = 900  # seconds; far more than anything here takes, also where other work is done beside it
FIGURES, WIDGETS = ".jp-OutputArea-output.jp-RenderedPlotly", ".jp-OutputArea-output:has(.widget-slider)"

DONE = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)
    const status = document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status
    return status === 'idle' && prompts.some(text => /\\d/.test(text)) && !prompts.some(text => text.includes('*'))
}"""


# The server and the browser


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def settle(folder, settings):
    """Write settings of JupyterLab's extensions into its folder for them."""
    for name, values in settings.items():
        path = folder / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab with settings of its own: the folder of its notebooks, its address, and the folder of its settings."""
    folder, own, port = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter"), free_port()
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    options += ["--IdentityProvider.token=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdates"]
    settle(own / "jupyterlab_settings_dir", SETTINGS)
    environment = os.environ | {place: str(own / place.lower()) for place in places}
    with (own / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + PATIENCE
    while not answers(port):
        assert server.poll() is None, (own / "log").read_text()
        assert time.monotonic() < until, (own / "log").read_text()
        time.sleep(0.2)
    yield folder, f"http://127.0.0.1:{port}/lab/tree", own / "jupyterlab_settings_dir"
    server.terminate()  # ends its kernels, too
    try:
        server.wait(60)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="module")
def browser():
    """Chromium, drawing WebGL by software."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*DRAWS_WITHOUT_A_GPU, *ASKS_NOBODY])
        yield chromium
        chromium.close()


class Lesson:
    """A notebook in the browser."""

    seconds = 30  # within which a picture must change

    def __init__(self, browser, folder, address, name):
        self.path = folder / f"{name}.ipynb"
        self.complaints, self.requests = [], []
        self.drawn, self.slid, self.turned, self.moved = [], [], [], []  # one True or False for each figure, slider, scene, widget
        self.page = browser.new_page(viewport={"width": 1200, "height": 1000})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), self._outside)
        self.sessions = address.replace("/lab/tree", "/api/sessions")
        self.page.goto(f"{address}/{name}.ipynb?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def _outside(self, route):
        """Nothing leaves this machine: badges are drawn here, all else is refused and remembered."""
        if route.request.url in BADGES:
            route.fulfill(content_type="image/svg+xml", body=BADGE)
        else:
            self.requests.append(route.request.url)
            route.abort()

    def listens(self):
        """Whether the notebook's kernel has started and the page is connected to it: until then the menu would ask which one to use."""
        kernels = [session["kernel"] for session in self.page.request.get(self.sessions).json() if session["path"] == self.path.name]
        return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)

    def run(self):
        """Run all cells, wait until the kernel is idle, and save."""
        self.until(self.listens)
        self.page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        self.page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        self.until(lambda: self.page.evaluate(DONE))
        self.page.click('.lm-MenuBar-itemLabel:text-is("File")')
        self.page.click('.lm-Menu-itemLabel:text-is("Save Notebook")')
        ran = self.page.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"\d")).count()
        self.until(lambda: len(list(filter(None, self.counts()))) == ran)
        return self

    def until(self, true):
        late = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > late:
                self.keep(self.page, "late")
                pytest.fail(f"{self.path.name} is late: {self.page.locator('.jp-Notebook').inner_text()}")
            self.page.wait_for_timeout(300)

    def cells(self):
        """Of the notebook as saved; none while it is being written."""
        try:
            return json.loads(self.path.read_text())["cells"]
        except json.JSONDecodeError:
            return []

    def outputs(self):
        return [output for cell in self.cells() for output in cell.get("outputs", [])]

    def errors(self):
        return [f"{output['ename']}: {output['evalue']}" for output in self.outputs() if output["output_type"] == "error"]

    def counts(self):
        return [cell["execution_count"] for cell in self.cells() if cell["cell_type"] == "code"]

    def look(self):
        """Wake every figure, move its slider, turn its first scene, push a slider of every widget: each only once, as scenes are slow without a GPU."""
        for figure in self.page.locator(FIGURES).all():
            self.until(lambda figure=figure: self.wakes(figure))
            self.drawn.append(self.shows_something(figure))
            if figure.locator(".slider-container").count():
                self.slid.append(self.slides(figure))
            if figure.locator(".gl-container canvas").count():
                self.turned.append(self.turns(figure))
        for widget in self.page.locator(WIDGETS).all():
            self.moved.append(any(self.pushed(widget, key) for key in ("Home", "End")))
            self.keep(widget, f"widget-{len(self.moved):02}")
        return self

    def wakes(self, figure):
        """Point at a figure; whether Plotly has drawn it in place of the still picture."""
        figure.scroll_into_view_if_needed()
        box = figure.bounding_box()
        for aside in (0.5, 0.52):  # a pointer that stands still enters nothing
            self.page.mouse.move(box["x"] + aside * box["width"], box["y"] + 0.5 * min(box["height"], 400))
        return figure.locator(".main-svg").count() > 0

    def pixels(self, element):
        """What the reader sees of an element while the pointer is elsewhere: bytes ``[h, w, 3]``."""
        self.page.mouse.move(1, 1)
        return np.asarray(Image.open(BytesIO(element.screenshot(animations="disabled", style=QUIET))).convert("RGB")).astype(int)

    def drawing(self, figure):
        """Pixels of a figure's plots, without titles, sliders and buttons around them: one image for each plot."""
        whole, frame = self.pixels(figure), figure.bounding_box()
        plots = [plot.bounding_box() for plot in figure.locator(".gl-container > div, .cartesianlayer .plot, .nsewdrag").all()]
        boxes = [[round(box["x"] - frame["x"]), round(box["y"] - frame["y"]), round(box["width"]), round(box["height"])] for box in plots if box]
        return [whole[max(y, 0) : y + height, max(x, 0) : x + width] for x, y, width, height in boxes if width > 8 and height > 8]

    def keep(self, element, name):
        """A picture for people, if a folder is named for it."""
        if "VRN_LITE_SCREENSHOTS" in os.environ:
            folder = Path(os.environ["VRN_LITE_SCREENSHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            element.screenshot(path=folder / f"{self.path.stem}-{name}.png")

    def shows_something(self, figure):
        """Whether every plot has more than paper, axes and words."""
        plots = self.settled(figure)
        self.keep(figure, f"figure-{len(self.drawn):02}")
        enough = lit if figure.locator(".gl-container canvas").count() else inked
        return bool(plots) and all(map(enough, plots))

    def settled(self, figure):
        """A figure's plots when they no longer change."""
        before = self.drawing(figure)
        late = time.monotonic() + 30
        while not before or (self.changed(lambda: self.drawing(figure), before, seconds=1) and time.monotonic() < late):
            before = self.drawing(figure)
        return before

    def slides(self, figure):
        """Whether a click near the other end of the slider changes a plot."""
        before = self.settled(figure)
        rail, grip = figure.locator(".slider-rail-touch-rect").bounding_box(), figure.locator(".slider-grip-rect").bounding_box()
        share = 0.97 if grip["x"] - rail["x"] < rail["width"] / 2 else 0.03
        self.page.mouse.click(rail["x"] + share * rail["width"], rail["y"] + rail["height"] / 2)
        done = self.changed(lambda: self.drawing(figure), before)
        self.keep(figure, f"figure-{len(self.drawn) - 1:02}-slid")
        return done

    def turns(self, figure):
        """Whether dragging the first scene changes it."""
        before, scene = self.settled(figure), figure.locator(".gl-container > div").first.bounding_box()
        x, y = scene["x"] + scene["width"] / 2, scene["y"] + scene["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 0.2 * scene["width"], y + 20, steps=5)
        self.page.mouse.up()
        return self.changed(lambda: self.drawing(figure), before)

    def pushed(self, widget, key):
        """Whether a widget's picture changes when a key pushes its first slider."""
        widget.scroll_into_view_if_needed()
        picture = widget.locator("img").first
        before = [self.pixels(picture)]
        widget.locator(".noUi-handle").first.press(key)
        return self.changed(lambda: [self.pixels(picture)], before)

    def changed(self, look, before, seconds=None):
        """Whether what `look` gives differs from `before` within some seconds."""
        late = time.monotonic() + (seconds or self.seconds)
        while time.monotonic() < late:
            after = look()
            if len(after) != len(before) or any(map(different, after, before)):
                return True
            self.page.wait_for_timeout(200)
        return False


def different(one, other):
    """Whether two pictures differ by more than a hair."""
    return one.shape != other.shape or int((np.abs(one - other).max(2) > 16).sum()) >= 30


def lit(scene):
    """Whether a scene shows a lit surface: many shades of colours, which axes do not have."""
    tinted = scene[np.ptp(scene, axis=2) > 24]
    return len(tinted) >= 300 and len(np.unique(tinted, axis=0)) >= 100


def inked(plane):
    """Whether a plot has more than paper and grey grid lines."""
    return int((plane.min(2) < 190).sum()) >= 300


# The notebooks


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, lab, browser):
    """A notebook of the course after all its cells have run."""
    folder, address, _ = lab
    shutil.copy(ROOT / "notebooks" / f"{request.param}.ipynb", folder)
    opened = Lesson(browser, folder, address, request.param).run().look()
    yield opened
    opened.page.close()


def test_all_cells_run_in_order_and_without_an_error(lesson):
    assert lesson.errors() == []
    assert lesson.counts() == list(range(1, len(lesson.counts()) + 1))


def test_every_figure_is_drawn(lesson):
    shown = sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in lesson.outputs())
    assert lesson.drawn == [True] * shown != []


def test_every_slider_of_a_figure_changes_its_picture(lesson):
    assert lesson.slid == [True] * len(lesson.slid) != []


def test_every_scene_turns_when_dragged(lesson):
    assert lesson.turned == [True] * len(lesson.turned) != []


def test_every_widget_answers_its_slider(lesson):
    assert all(lesson.moved)
    assert lesson.moved or not lesson.path.stem.startswith("10")


def test_nothing_complains_and_nothing_asks_the_network(lesson):
    assert lesson.complaints == []
    assert lesson.requests == []


# Notebooks made for these tests

IMPORTS = """
import numpy as np, trimesh
from IPython.display import HTML, display
from vrn_lite import viz
from vrn_lite.viz import widgets

ball = trimesh.creation.icosphere(subdivisions=3, radius=20.0)
figure = viz.mesh_figure(ball.vertices, ball.faces, title="A ball")
z, y, x = np.mgrid[:24, :24, :24] - 11.5
slices = viz.slices_figure(x**2 + y**2 + z**2 < 100, depth_scale=1.0, slices=9)
"""
PROSE = "# A title\n\nProse, `code` and [a link](https://example.org).\n\n<details><summary>Solution</summary>\n\nFolded.\n\n</details>"
WIDGET = "widgets.explore(lambda size: viz.curves_figure({'a': ([0, 1], [0, size])}, 'x', 'y'), size=(1.0, 9.0, 1.0))"
SOUND = (IMPORTS, "viz.show(figure, 'A ball.')", "viz.show(slices, 'A ball in slices.')", WIDGET)
BROKEN = (
    IMPORTS,
    "figure.data[0].lightposition = None\nfigure.data[0].opacity = 0\nviz.show(figure, 'A scene with a ball that nobody sees.')",
    "for step in slices.layout.sliders[0].steps:\n    step.args = [{'name': ['the same']}, [0]]\nviz.show(slices, 'A slider that changes nothing.')",
    "widgets.explore(lambda size: viz.curves_figure({'a': ([0, 1], [0, 1])}, 'x', 'y'), size=(1.0, 9.0, 1.0))",
    "display(HTML('<script>console.error(\\'a figure broke\\')</script><img src=\"https://example.org/a.png\" alt=\"\">'))",
    "1 / 0",
    "'not reached'",
)


def write(folder, name, cells):
    code = [{"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": text, "outputs": [], "execution_count": None} for i, text in enumerate(cells)]
    prose = {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": PROSE}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": [prose, *code], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def test_these_checks_notice_what_is_broken(lab, browser):
    folder, address, _ = lab
    write(folder, "broken", BROKEN)
    lesson = Lesson(browser, folder, address, "broken").run()
    lesson.seconds = 3  # nothing is to come
    lesson.look()
    assert lesson.errors() == ["ZeroDivisionError: division by zero"]
    assert lesson.counts()[-1] is None
    assert (lesson.drawn, lesson.slid, lesson.moved) == ([False, True], [False], [False])
    assert "a figure broke" in lesson.complaints
    assert set(lesson.requests) == {"https://example.org/a.png"}
    lesson.page.close()


BACKGROUND = """element => {
    let over = element
    while (over && /^rgba\\(.*, 0\\)$|^transparent$/.test(getComputedStyle(over).backgroundColor)) over = over.parentElement
    return [getComputedStyle(element).color, over ? getComputedStyle(over).backgroundColor : 'rgb(255, 255, 255)']
}"""
WORDS = (".jp-RenderedMarkdown h1", ".jp-RenderedMarkdown p", ".jp-RenderedMarkdown summary", ".widget-label", ".widget-readout")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_words_and_cards_are_legible_in_both_themes(theme, lab, browser):
    folder, address, settings = lab
    name = theme.split()[1].lower()
    write(folder, name, SOUND)
    settle(settings, {"@jupyterlab/apputils-extension/themes": {"theme": theme}})
    lesson = Lesson(browser, folder, address, name).run().look()
    assert lesson.errors() == lesson.complaints == []
    assert (lesson.drawn, lesson.slid, lesson.turned, lesson.moved) == ([True, True], [True], [True], [True])
    assert lesson.page.locator("body").get_attribute("data-jp-theme-light") == str(name == "light").lower()
    for words in WORDS:
        text, ground = lesson.page.locator(words).first.evaluate(BACKGROUND)
        assert contrast(parsed(text), parsed(ground)) >= 4.5, (words, text, ground)
    for card in lesson.page.locator(FIGURES).all():
        assert tuple(lesson.pixels(card)[-12, -12]) == (255, 255, 255)  # the figure brings its own paper
        assert parsed(card.locator(".gtitle, .slider-label").first.evaluate("e => getComputedStyle(e).fill")) == (0x22,) * 3
    lesson.page.close()


def parsed(colour):
    """The three numbers of CSS's rgb(...)."""
    return tuple(int(number) for number in re.findall(r"\d+", colour)[:3])
