"""The report in a browser."""

import json
import re
import shutil

import pytest

from report import overview
from tests.helpers.cli import until
from tests.helpers.fake_runs import fake_seeds, fake_study

pytestmark = pytest.mark.figures


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of a data set with runs of all models, and the report on them."""
    root = tmp_path_factory.mktemp("drawn")
    fake_study(root)
    return overview.write(root, overview.Options(study=True)).path.parent


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -r requirements-dev.txt")
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if not (driver and program):
        pytest.skip("needs Chromium and its driver, in Debian the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-quic --disable-background-networking "
        "--disable-component-update --disable-sync --disable-dev-shm-usage"
    ).split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def open_page(browser, folder, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get((folder / "report.html").as_uri())


def test_page_renders_without_error_or_request(browser, drawn):
    open_page(browser, drawn, 1200)
    assert browser.title == "Small networks on CIFAR-10"
    sizes = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    charts = browser.execute_script("return document.querySelectorAll('.chart').length")
    assert len(sizes) + charts == (drawn / "report.md").read_text(encoding="utf-8").count("![") > 15
    assert all(size > 300 for size in sizes)
    assert all(browser.execute_script("return [...document.images].map(image => image.alt)"))
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [entry["params"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]
    page = (drawn / "report.html").as_uri()
    # Chromium's own first page may still be loading its parts.
    asked = {request["request"]["url"] for request in requests if request["documentURL"] == page}
    assert {url for url in asked if not url.startswith("data:")} == {page}


def test_tables_sort_by_a_click_on_a_header(browser, drawn):
    open_page(browser, drawn, 1200)
    script = (
        "return [...document.querySelector('table.sortable').tBodies[0].rows].map(row => row.cells[{}].textContent)"
    )

    def click(column):
        browser.execute_script(f"document.querySelectorAll('table.sortable th button')[{column}].click()")
        return browser.execute_script(script.format(column))

    def numbers(texts):
        return [float(re.match(r"[-\d.]+", text.replace(",", ""))[0]) for text in texts]

    for column in (1, 7, 8):
        upwards, downwards = numbers(click(column)), numbers(click(column))
        assert upwards == sorted(upwards) != upwards[::-1]
        assert downwards == upwards[::-1]
    assert click(0)[:3] == ["Q1_1", "Q1_2", "Q1_3"]
    assert click(0)[:3] == ["Q2_2", "Q2_1", "Q1_25"]
    sorted_by = "return [...document.querySelectorAll('table.sortable th')].map(head => head.ariaSort).filter(Boolean)"
    assert "descending" in browser.execute_script(sorted_by)


@pytest.mark.parametrize("width", [360, 800])
def test_page_fits_a_narrow_screen(browser, drawn, width):
    open_page(browser, drawn, width)
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width
    widest = "return Math.max(...[...document.querySelectorAll('p, li, h1, h2, .sentences td, img')].map("
    assert browser.execute_script(widest + "one => one.getBoundingClientRect().right))") <= width
    assert browser.execute_script("return parseFloat(getComputedStyle(document.body).fontSize)") >= 16


@pytest.fixture(scope="module")
def charted(tmp_path_factory):
    """The folder of a report whose curves and scatter answer to the pointer."""
    pytest.importorskip("vl_convert", reason="needs vl-convert-python: pip install -r requirements-optional.txt")
    root = tmp_path_factory.mktemp("charted")
    for model in ("Q1_1", "Q1_4", "Q1_19"):
        fake_seeds(root, model)
    return overview.write(root).path.parent


def open_charts(browser, folder, width):
    open_page(browser, folder, width)
    count = "return document.querySelectorAll('.view svg').length"
    until(lambda: browser.execute_script(count) == 3)
    return browser.find_elements("css selector", ".chart input")


def lines_in(browser):
    return browser.execute_script("return document.querySelectorAll('.view svg .mark-line path').length")


def test_charts_show_values_and_switch_lines_off(browser, charted):
    first, *_ = boxes = open_charts(browser, charted, 1200)
    assert [box.get_attribute("value") for box in boxes] == ["Q1_1", "Q1_4", "Q1_19"]
    assert browser.execute_script("return document.images.length") == browser.execute_script(
        "return document.querySelectorAll('p > img').length"
    )

    # By the keyboard; a line in each of the two charts, training and validation.
    before = lines_in(browser)
    browser.execute_script("arguments[0].focus()", first)
    first.send_keys(" ")
    until(lambda: lines_in(browser) == before - 4)
    first.send_keys(" ")
    until(lambda: lines_in(browser) == before)

    # By the pointer: the value at it.
    dot = browser.find_elements("css selector", ".chart:has(input) .view svg .mark-symbol path")[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dot)
    pointer = pytest.importorskip("selenium.webdriver").ActionChains(browser)
    pointer.move_to_element(dot).perform()
    told = "return document.querySelector('#vg-tooltip-element')?.textContent ?? ''"
    until(lambda: re.search(r"Q1_.*epoch.*\d", browser.execute_script(told)))
    assert browser.get_log("browser") == []


def test_switching_off_the_only_line_hides_it_and_warns_of_nothing(browser, tmp_path):
    pytest.importorskip("vl_convert", reason="needs vl-convert-python: pip install -r requirements-optional.txt")
    fake_seeds(tmp_path, "Q1_1", epochs=3)
    open_page(browser, overview.write(tmp_path).path.parent, 1200)
    until(lambda: lines_in(browser) == 4)
    [box] = browser.find_elements("css selector", ".chart input")
    seen = (
        "return [...document.querySelectorAll('.view path')].filter(one => one.closest('.mark-line, .mark-symbol') && "
        "one.checkVisibility({visibilityProperty: true})).length"
    )
    before = browser.execute_script(seen)
    assert before > 0
    browser.execute_script("arguments[0].click()", box)
    until(lambda: browser.execute_script(seen) == 0)
    browser.execute_script("arguments[0].click()", box)
    until(lambda: browser.execute_script(seen) == before)
    assert [entry["message"][-200:] for entry in browser.get_log("browser")] == []


@pytest.mark.parametrize(("outermost", "outwards", "epoch"), [(min, -1, 1), (max, 1, 10)])
def test_first_and_last_dots_answer_at_their_outer_half(browser, charted, outermost, outwards, epoch):
    open_charts(browser, charted, 1200)
    told = "return document.querySelector('#vg-tooltip-element.visible')?.textContent ?? ''"
    middle = "const box = arguments[0].getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
    [chart, _] = browser.find_elements("css selector", ".chart:has(input) .view svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    dots = chart.find_elements("css selector", ".mark-symbol path")
    middles = [browser.execute_script(middle, dot) for dot in dots]
    x, y = outermost(middles)
    for place in ((x, y - 60), (x + outwards, y)):
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", dict(type="mouseMoved", x=place[0], y=place[1]))
    until(lambda: re.search(rf"curve(training|validation)epoch{epoch}l", browser.execute_script(told)))


def test_folded_tables_are_printed(browser, charted):
    open_page(browser, charted, 1200)
    seen = "[...document.querySelectorAll('details')].filter(fold => fold.lastElementChild.checkVisibility()).length"
    before = browser.execute_script(f"return {seen}")
    browser.execute_script(f"addEventListener('beforeprint', () => {{ window.printed = {seen}; }})")
    browser.execute_cdp_cmd("Page.printToPDF", {})
    folded = browser.execute_script("return document.querySelectorAll('details').length")
    assert browser.execute_script("return window.printed") == folded > 1
    assert browser.execute_script(f"return {seen}") == before < folded


def test_charts_zoom_by_the_wheel_with_ctrl_alone(browser, charted):
    open_charts(browser, charted, 1200)
    chart = browser.find_element("css selector", ".view")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    middle = "const place = arguments[0].getBoundingClientRect(); return [place.x + place.width / 2, place.y + 150]"
    labels = "return [...arguments[0].querySelectorAll('.role-axis-label text')].map(one => one.textContent)"

    def turn(modifiers):
        x, y = browser.execute_script(middle, chart)
        event = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": 240, "modifiers": modifiers}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    before = browser.execute_script(labels, chart)
    turn(2)  # Ctrl
    until(lambda: browser.execute_script(labels, chart) != before)
    zoomed = browser.execute_script(labels, chart)

    # By itself it moves the page, and no chart.
    place = browser.execute_script("return scrollY")
    turn(0)
    until(lambda: browser.execute_script("return scrollY") > place)
    assert browser.execute_script(labels, chart) == zoomed
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 800])
def test_charts_fit_a_narrow_screen(browser, charted, width):
    open_charts(browser, charted, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert (charted / "report.html").stat().st_size < 2_500_000


def test_charts_fit_a_page_of_paper(browser, charted):
    open_charts(browser, charted, 1200)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:  # which draws no chart anew
        narrow = "document.querySelectorAll('.views').forEach(views => views.style.width = '500px')"
        edge = "return Math.max(...[...document.querySelectorAll('.view svg')].map("
        browser.execute_script(narrow)
        left = browser.execute_script("return document.querySelector('.views').getBoundingClientRect().left")
        assert browser.execute_script(edge + "one => one.getBoundingClientRect().right))") <= left + 500
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_charts_of_few_epochs_name_each_once(browser, tmp_path):
    pytest.importorskip("vl_convert", reason="needs vl-convert-python: pip install -r requirements-optional.txt")
    for model in ("Q1_1", "Q1_4"):
        fake_seeds(tmp_path, model, epochs=3)
    open_page(browser, overview.write(tmp_path).path.parent, 1200)
    labels = "return [...document.querySelector('.view svg .role-axis-label').children].map(one => one.textContent)"
    until(lambda: browser.execute_script("return document.querySelectorAll('.view svg').length") == 2)
    assert browser.execute_script(labels) == ["1", "2", "3"]
