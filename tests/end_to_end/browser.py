"""A headless Chromium that opens pages from disk, cut off from every network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "ARENA_REQUIRE_BROWSER"
"""Where this is set, as in CI, a missing browser is a failure."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a driver of Debian's Chromium; skip, with the reason, where it is not installed."""
    program, server = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or server is None:
        reason = "needs Debian's packages chromium and chromium-driver"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and the test {reason}")
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    # Names resolve to nothing, so that a page that asks for anything outside is left without it.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    driver = webdriver.Chrome(options=options, service=Service(server))
    try:
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, page: Path) -> None:
    """Open a page from disk with the network off, wide and light, and forget what was logged before."""
    driver.get_log("performance")
    driver.get_log("browser")
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    shown(driver, 1280)
    # From elsewhere: a page that is opened again may be taken for loaded before it is.
    driver.get("about:blank")
    driver.get(page.as_uri())


def shown(driver: Any, width: int, scheme: str = "light") -> None:
    """Show the page `width` pixels wide in a colour scheme."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requests(driver: Any) -> list[str]:
    """Return what the page asked for since it was opened."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [each["request"]["url"] for each in sent]


def axe(driver: Any, rules: dict[str, Any]) -> list[str]:
    """Return what axe-core finds wrong, as `rule: element`; a picture counts as one element."""
    import selenium_axe_python

    script = Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js"
    driver.execute_script(script.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run({exclude: ['.plot > svg']}, arguments[0]).then(arguments[1])", rules)
    return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]
