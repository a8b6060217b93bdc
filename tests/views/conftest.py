"""The gallery of panel states, open in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.views.gallery import write_gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page

DRAWN = (
    "both-rise",
    "connected",
    "running",
    "waiting",
    "class-names",
    "not-finite",
    "healthy",
    "one-epoch",
    "retracted",
)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery page, as a file."""
    return write_gallery(tmp_path_factory.mktemp("gallery") / "gallery.html", *DRAWN)


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page in a fresh context; errors in it fail the test."""
    contexts, errors = [], []

    def opened(address: str, *, width: int = 1000, scheme: str = "light", **options: object) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if _matters(m) else None)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def _matters(message: ConsoleMessage) -> bool:
    # Tests read pixels back; the browser's hint about that says nothing about the panel.
    return message.type in ("error", "warning") and "willReadFrequently" not in message.text


@pytest.fixture
def open_gallery(open_page: Callable[..., Page], gallery: Path) -> Callable[..., Page]:
    """Open the gallery and wait until its charts are drawn."""

    def opened(**options: object) -> Page:
        page = open_page(gallery.as_uri(), **options)
        page.locator("#state-both-rise .over").first.wait_for()
        return page

    return opened
