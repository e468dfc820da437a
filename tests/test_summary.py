"""What `make test` says of tests that were not run: every one, under its own reason."""

import re

import pytest

from tests.conftest import ROOT

pytest_plugins = ["pytester"]
TESTS = {
    "host/test_a": "import pytest\n@pytest.mark.node\ndef test_node(): pass\ndef test_plain(): pass\n",
    "host/test_b": (
        "import pytest\npytestmark = [pytest.mark.host, pytest.mark.node]\ndef test_one(): pass\ndef test_two(): pass\n"
    ),
    "other/test_c": (
        "import pytest\n@pytest.mark.skipif(True, reason='no sound card')\ndef test_c(): pass\n"
        "def test_d(): pytest.skip('no moon')\n"
    ),
}
CONFTEST = """
import tests.conftest as ours
ours.find_host = lambda: None
ours.shutil.which = lambda name: None
from tests.conftest import pytest_collection_modifyitems, pytest_terminal_summary
"""


@pytest.mark.slow
def test_skipped_tests_are_counted_by_marker_not_by_folder(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, text in TESTS.items():
        path = pytester.path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (pytester.path / "conftest.py").write_text(CONFTEST)
    (pytester.path / "pytest.ini").write_text("[pytest]\nmarkers =\n host: a\n node: b\n browser: c\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    lines = re.findall(r"NOT TESTED: (\d+) tests?, (.{3,10})", result.stdout.str())
    found = sorted((int(count), reason) for count, reason in lines)
    assert found == [(1, "no moon"), (1, "no sound c"), (1, "node is no"), (2, "no ComfyUI")]
    result.assert_outcomes(passed=1, skipped=5)
