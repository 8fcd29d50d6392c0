"""A browser that reaches nobody by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from optional import need
from playwright.sync_api import Browser, expect, sync_playwright

PATIENCE_MS = 60_000  # a busy machine is slow, not wrong
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=PATIENCE_MS)


@contextlib.contextmanager
def opened_browser() -> Iterator[Browser]:
    """Chromium without a window; skips where there is none."""
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
