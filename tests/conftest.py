"""Tests that need ComfyUI ($COMFYUI_PATH, the parent folders, ~/comfy/ComfyUI), ultralytics, Chromium or node are skipped
without it.

With DETECTOR=1 those that need ultralytics are never skipped: where it is missing they fail. Those of real people also need
packages that nothing here installs.
"""

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.real_people import absent
from demo.find_host import find_host
from tests.web.browser import NO_BROWSER, editor, find_chromium
from tools.setup_env import wants_detector

ROOT = Path(__file__).resolve().parents[1]
LONGEST = ("tests/web", "tests/host")
NO_HOST = "no ComfyUI found: set COMFYUI_PATH to run the host tests"
NO_DETECTOR = "ultralytics is not installed: DETECTOR=1 make test"
NO_PEOPLE = "no pictures of real people, or no detectors for them: CONTRIBUTING.md says what to install"
NO_NODE = "node is not installed, which runs the tests of web/js"


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # of several workers none is to be left with the longest files at the end
        items.sort(key=lambda item: [not item.nodeid.startswith(name) for name in LONGEST])
    lacking = {
        "host": NO_HOST if find_host() is None else None,
        "browser": NO_HOST if find_host() is None else NO_BROWSER if find_chromium() is None else None,
        "detector": NO_DETECTOR if find_spec("ultralytics") is None and not wants_detector() else None,
        "real_people": NO_PEOPLE if absent() else None,
        "node": NO_NODE if shutil.which("node") is None else None,
    }
    for item in items:
        for mark, reason in lacking.items():
            if reason and item.get_closest_marker(mark):  # in keywords, folders and files have a say as well
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter):
    """What was not tested is counted by its reason, whatever pytest was asked to show."""
    reasons = Counter(why_skipped(report) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT TESTED: {count} test{'s' * (count > 1)}, {reason}", yellow=True, bold=True)
    ran = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if any("browser" in report.keywords for report in ran) and (remark := editor(find_host())[1]):
        terminalreporter.write_line(f"NOT TESTED: {remark}", yellow=True, bold=True)


def why_skipped(report) -> str:
    """Of a skipped test, or of a whole file; "expected failure" has no place and line."""
    told = report.longrepr
    return told[2].removeprefix("Skipped: ") if isinstance(told, tuple) else str(told)
