"""Tests that need ComfyUI ($COMFYUI_PATH, the parent folders, ~/comfy/ComfyUI), ultralytics, Chromium or node are skipped
without it.

With DETECTOR=1 those that need ultralytics are never skipped: where it is missing they fail. Those of real people also need
packages that nothing here installs.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.real_people import absent
from demo.find_host import find_host
from tests.web.browser import NO_BROWSER, NO_EDITOR, editor, find_chromium
from tools.setup_env import wants_detector

ROOT = Path(__file__).resolve().parents[1]
NO_HOST = "no ComfyUI found: set COMFYUI_PATH to run the host tests"
NO_DETECTOR = "ultralytics is not installed: DETECTOR=1 make test"
NO_PEOPLE = "no pictures of real people, or no detectors for them: CONTRIBUTING.md says what to install"
NO_NODE = "node is not installed, which runs the tests of web/js"


def pytest_collection_modifyitems(items):
    lacking = {
        "host": NO_HOST if find_host() is None else None,
        "browser": NO_HOST if find_host() is None else NO_BROWSER if find_chromium() is None else None,
        "detector": NO_DETECTOR if find_spec("ultralytics") is None and not wants_detector() else None,
        "real_people": NO_PEOPLE if absent() else None,
        "node": NO_NODE if shutil.which("node") is None else None,
    }
    for item in items:
        for mark, reason in lacking.items():
            if reason and mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter):
    """What was not tested is counted, whatever pytest was asked to show."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for reason in (NO_HOST, NO_BROWSER, NO_EDITOR, NO_DETECTOR, NO_PEOPLE, NO_NODE):
        if count := sum(reason in told for told in skipped):
            terminalreporter.write_line(f"NOT TESTED: {count} test{'s' * (count > 1)}, {reason}", yellow=True, bold=True)
    ran = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if any("browser" in report.keywords for report in ran) and (remark := editor(find_host())[1]):
        terminalreporter.write_line(f"NOT TESTED: {remark}", yellow=True, bold=True)
