"""The playground in a real browser, where there is one: what it shows is what the server says."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.live import KEY, live

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the playground is not tested in a browser"),
    pytest.mark.xdist_group("playground"),
]
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect = playwright.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as manager:
        running = manager.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def own():
    with live() as running:
        yield running


@pytest.fixture
def page(browser, own) -> Iterator[Any]:
    """The page, ready; whatever the browser complains of fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(own.url) else problems.append(request.url))
    opened.goto(own.url)
    expect(opened.locator("#message")).to_have_text("Ready.")
    yield opened
    opened.close()
    assert problems == [], "errors, or requests to other hosts"


def run(page, **values: str) -> None:
    for name, value in {"max_tokens": "20", **values}.items():
        page.fill(f"#{name}", value)
    page.click("#run")
    expect(page.locator("#message")).to_have_text(re.compile("Done|times the speed"), timeout=30_000)


def test_the_text_is_the_servers(page, own):
    """Every token is there, coloured by its proposer, and the numbers agree with the library's."""
    from unisono import SamplingParams

    run(page, prompt="def f(x):", seed="3", schedule="cos:2,1")
    (result,) = own.ensemble().generate("def f(x):", SamplingParams(max_tokens=20, seed=3), schedule="cos:2,1")
    tokens = page.locator(".token")
    assert tokens.count() == len(result.token_ids)
    for index, commit in enumerate(result.commits):
        classes = tokens.nth(index).get_attribute("class").split()
        assert commit.origin in classes
        assert ("none" if commit.member is None else f"m{commit.member}") in classes
    assert {commit.origin for commit in result.commits} >= {"accepted", "redrawn"}
    cells = [cell.split() for cell in page.locator(".run tbody tr").all_inner_texts()]
    assert [cell[0] for cell in cells] == own.ensemble().names
    assert [list(map(int, cell[1:])) for cell in cells] == [
        [member.forwards, member.proposed, member.accepted] for member in result.stats.members
    ]
    assert page.locator(".timeline rect.bar").count() > 0
    assert page.locator(".used").inner_text() == "weighted:0.7,0.3 · cos:2,1 · token verification"


def test_a_token_tells_what_the_members_said(page):
    run(page, prompt="def f(x):")
    box = page.locator("#inspector")
    expect(box).to_be_hidden()
    page.hover(".token >> nth=3")
    expect(box).to_be_visible()
    heads = box.locator("th").all_inner_texts()
    assert heads == ["token", "combined", "large", "small"]
    rows = [row.split("\t") for row in box.locator("tbody tr").all_inner_texts()]
    shares = [[float(cell.strip(" <%\n")) for cell in row[1:]] for row in rows]
    assert len(rows) >= 5
    for combined, large, small in shares:  # weighted:0.7,0.3
        assert combined == pytest.approx(0.7 * large + 0.3 * small, abs=0.02)
    assert [row[0] for row in shares[:5]] == sorted((row[0] for row in shares[:5]), reverse=True)


def test_standard_beside_the_schedule(page):
    page.check("#compare")
    run(page, schedule="cos:2,1", seed="5")
    assert page.locator(".run h2").first.inner_text().startswith("standard")
    assert page.locator(".run").count() == 2
    first, second = page.locator(".run .text").all_inner_texts()
    assert first == second  # coupled verification: what the speed-up costs is seen to be nothing
    expect(page.locator(".run h2 .speed").last).to_have_text(re.compile(r"^\d+\.\d\d× standard$"))
    assert page.locator(".token.parts").count() == 0
    assert "Both texts are the same." in page.locator("#message").inner_text()


def test_where_the_texts_part_is_marked(browser):
    """Without coupled verification one seed gives two texts."""
    with live(allow=("combine", "schedule")) as running:
        page = browser.new_page()
        page.goto(running.url)
        expect(page.locator("#message")).to_have_text("Ready.")
        page.check("#compare")
        run(page, schedule="cos:2,1", seed="5")
        texts = [page.locator(".run").nth(index).locator(".token") for index in (0, 1)]
        pairs = list(zip(*(text.all_inner_texts() for text in texts), strict=False))
        parted = next(index for index, (first, second) in enumerate(pairs) if first != second)
        for text in texts:
            assert "parts" in text.nth(parted).get_attribute("class").split()
        assert page.locator(".token.parts").count() == 2
        assert f"The texts part at token {parted + 1}" in page.locator("#message").inner_text()
        page.close()


def test_weights_and_combinations(page):
    page.fill("#members input >> nth=0", "0.2")
    assert page.input_value("#combine") == "weighted:0.2,0.3"
    page.fill("#combine", "weighted:1,2,3")
    page.fill("#max_tokens", "5")
    page.click("#run")
    expect(page.locator("#message")).to_have_class("error")
    expect(page.locator("#message")).to_contain_text("3 weights for 2 members")
    assert page.locator(".run").count() == 0


def test_weights_are_those_of_the_combination(page):
    """`contrastive` has none to touch; what has weights keeps its name and its options."""
    weights = page.locator("#members input")
    page.fill("#combine", "gate:0.7,0.3,threshold=0.5")
    weights.nth(1).fill("0.9")
    assert page.input_value("#combine") == "gate:0.7,0.9,threshold=0.5"
    page.fill("#combine", "contrastive:0.1")
    expect(weights).to_have_count(0)
    page.select_option("#model", "contrast")
    expect(weights).to_have_count(0)
    page.fill("#combine", "")
    page.select_option("#model", "pair")
    expect(weights).to_have_count(2)


def test_results_keep_their_own_legend(page):
    """That of the model that gave them, when another one is chosen."""
    run(page, prompt="def f(x):")
    legend = page.locator(".run .legend").inner_text()
    page.select_option("#model", "large")
    assert page.locator(".run .legend").inner_text() == legend
    assert "proposed by small" in legend
    assert page.locator(".run h2").inner_text().endswith("pair")


def test_look_ups_and_what_was_replaced(page, own):
    """In their own colour, in the table, and by name on the card."""
    text = "def f(x): def f(x): def f(x):"
    run(page, prompt=text, schedule="lookup:3", max_tokens="60", seed="7")
    from unisono import SamplingParams

    (result,) = own.ensemble().generate(text, SamplingParams(max_tokens=60, seed=7), schedule="lookup:3")
    found = [index for index, commit in enumerate(result.commits) if commit.looked_up]
    assert page.locator(".token.lookup").count() == len(found) > 0
    assert "looked up in the text" in page.locator(".run .legend").inner_text()
    row = page.locator(".run tbody tr").last.inner_text().split("\t")
    assert row[1:] == ["–", str(result.stats.lookup.proposed), str(result.stats.lookup.accepted)]
    page.locator(".token.lookup.redrawn").first.click()
    assert "redrawn in place of" in page.locator("#inspector h2").inner_text()
    assert "looked up in the text" in page.locator("#inspector h2").inner_text()


def test_under_drawn_the_card_has_the_law_of_the_drawn_member(page):
    run(page, combine="drawn:0.5,0.5", schedule="cos:2,1")
    page.locator(".token").nth(4).click()
    box = page.locator("#inspector")
    assert box.locator("th").nth(1).inner_text() in ("large, drawn here", "small, drawn here")
    assert all(cell.strip().strip("<")[0].isdigit() for cell in box.locator("tbody td:nth-child(2)").all_inner_texts())


def test_by_keyboard_alone(page):
    page.focus("#prompt")
    page.keyboard.press("Control+a")
    page.keyboard.type("for i in")
    page.fill("#max_tokens", "10")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#message")).to_have_text("Done.", timeout=30_000)
    page.focus(".text")
    expect(page.locator("#inspector h2")).to_contain_text("Token 1")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#inspector h2")).to_contain_text("Token 2")
    page.keyboard.press("End")
    expect(page.locator("#inspector h2")).to_contain_text(f"Token {page.locator('.token').count()}")
    page.keyboard.press("Escape")
    expect(page.locator("#inspector")).to_be_hidden()


def test_stop_frees_the_row(page, own, monkeypatch):
    engine = own.ensemble().engine
    step = engine.step

    def slow() -> None:  # so that the text does not end before
        time.sleep(0.02)
        step()

    monkeypatch.setattr(engine, "step", slow)
    page.fill("#max_tokens", "450")
    page.click("#run")
    expect(page.locator(".token").nth(3)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#message")).to_have_text("Stopped.")
    assert own.idle()


def test_a_chat_remembers(page):
    page.click("#mode-chat")
    page.fill("#system", "be brief")
    run(page, prompt="what is f")
    run(page, prompt="and g")
    assert [text.split("\n")[0] for text in page.locator("#chat p b").all_inner_texts()] == [
        "user",
        "assistant",
        "user",
    ]
    assert page.locator(".run .token").count() > 0  # the last answer
    page.click("#clear")
    expect(page.locator("#chat")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_readable_everywhere(browser, own, scheme, width):
    """Nothing is wider than the screen, and text stands out from what is behind it."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(own.url)
    expect(page.locator("#message")).to_have_text("Ready.")
    run(page)
    page.locator(".token").first.click()
    assert page.locator("html").evaluate("e => e.scrollWidth") <= width
    for place in ("body", "#message", ".token", "#inspector th", "button.main", "label"):
        colours = page.locator(place).first.evaluate(
            """e => { const text = getComputedStyle(e).color; let back = e;
            while (back && /, 0\\)$|transparent/.test(getComputedStyle(back).backgroundColor)) back = back.parentElement;
            return [text, getComputedStyle(back || document.body).backgroundColor]; }"""
        )
        if not any("color" in colour for colour in colours):
            assert contrast(*colours) >= 4.5, (place, colours)
    page.close()


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio of two `rgb(...)` colours."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_key_is_asked_for(browser, server):
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator("#message")).to_contain_text("API key")
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("#message")).to_have_text("Ready.")
    page.close()
