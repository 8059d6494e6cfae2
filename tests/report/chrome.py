"""Where a Chrome or Chromium and its driver are on this machine: python tests/report/chrome.py fails where one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from typing import NamedTuple

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRIVER = "chromedriver"

# Where GitHub's runners keep the driver that matches their Chrome.
DRIVER_FOLDERS = ("CHROMEWEBDRIVER",)

INSTALL = (
    "no Chrome or Chromium with its driver on PATH: make test SETUP=apt installs Debian's (or apt-get install chromium"
    " chromium-driver); elsewhere install Chrome and chromedriver"
)


class Found(NamedTuple):
    """Paths of a browser and its driver."""

    browser: str
    driver: str


def find() -> Found | None:
    """The first browser and driver on PATH, None where one is missing."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    folders = [os.environ[name] for name in DRIVER_FOLDERS if name in os.environ]
    driver = shutil.which(DRIVER) or shutil.which(DRIVER, path=os.pathsep.join(folders) or "/nowhere")
    return Found(browser, driver) if browser and driver else None


if __name__ == "__main__":
    found = find()
    sys.exit(0 if found else INSTALL)
