"""Which browser and which editor the tests in this folder use; needs neither."""

import sys

from tests.web import browser


def test_a_named_browser_comes_first(tmp_path):
    assert browser.find_chromium({"CHROMIUM_PATH": f" {sys.executable} "}) in (sys.executable, None)
    assert browser.find_chromium({"CHROMIUM_PATH": str(tmp_path / "none")}) is None


def test_a_host_gets_the_editor_that_it_was_released_with(tmp_path, monkeypatch):
    host, folder = tmp_path / "host", tmp_path / "editor"
    host.mkdir()
    monkeypatch.setattr(browser, "version", lambda package: "1.2.0")
    monkeypatch.setattr(browser, "editor_folder", lambda version: folder if version == "1.1.9" else tmp_path / "none")
    folder.mkdir()
    for pinned, root, remark in (
        ("comfyui-frontend-package==1.2.0", None, False),  # is the installed one
        ("comfyui-frontend-package==1.1.9  # of its own", folder, False),
        ("comfyui-frontend-package==1.0.0", None, True),
        ("einops", None, False),
    ):
        (host / "requirements.txt").write_text(pinned + "\n")
        found, told = browser.editor(host)
        assert found == root and bool(told) == remark
