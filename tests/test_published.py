"""What the registry would get: what is in it, what may not be, and that a fault of each kind is found."""

import os
import subprocess

import pytest

from tests.conftest import ROOT
from tools.published import MOST_BYTES, about, faults, published

PROJECT = """
[project]
name = "x"
version = "1.2.3"
description = "x"
license = { file = "LICENSE" }
requires-python = ">=3.10"
[tool.comfy]
PublisherId = "x"
DisplayName = "x"
requires-comfyui = ">=0.20.0"
"""
FLAWS = {
    "pack/a.py": ("import os\nprint(os.environ)\n", "pack/a.py:2: os.environ"),
    "web/b.js": ("// subprocess\n", "web/b.js:1: subprocess"),
    "no suffix": ("x\n\n eval(1)", "no suffix:3: eval("),
    "ünder/c.md": ("see urllib", "ünder/c.md:1: urllib"),
    "d.pyc": ("", "d.pyc: compiled code"),
    "__pycache__/e": ("", "__pycache__/e: compiled code"),
}


@pytest.fixture
def checkout(tmp_path):
    """checkout({path: text}): a git checkout with these files, a pyproject.toml and a licence."""
    def made(files: dict[str, str]):
        for path, text in {"pyproject.toml": PROJECT, "LICENSE": "free", **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        for command in (["init", "-q"], ["add", "--all", "--force"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        return tmp_path

    return made


def told(repo) -> list[str]:
    files = published(repo)
    return [*faults(repo, files), *about(repo, files)]


def test_this_pack_may_be_published():
    files = published(ROOT)
    if not files:
        pytest.skip("not a git checkout")
    paths = {file.path for file in files}
    assert told(ROOT) == []
    needed = {"__init__.py", "demo/__init__.py", "demo/talker.py", "demo/features.py", "web/js/synccache.js", "LICENSE",
              "web/docs/SyncCache.md", "web/docs/SyncCache/zh.md", "locales/ja/nodeDefs.json", "workflows/tiny_talker.json",
              "workflows/tiny_talker.jpg", "demo/assets/tiny_talker_dit.safetensors"}  # fmt: skip
    assert needed <= paths
    unwanted = ("tests/", "bench/", "tools/", "docs/", "demo/train", "demo/wild", "demo/assets/wild", ".ci/")
    assert not [path for path in paths if path.startswith(unwanted)]


def test_what_is_ignored_is_left_out_and_what_is_not_tracked(checkout):
    rules = "*.txt\n!keep.txt\n/inner/\n"
    repo = checkout({".comfyignore": rules, "a.txt": "eval(", "keep.txt": "x", "inner/b.py": "", "c.py": ""})
    (repo / "later.py").write_text("eval(")
    assert [file.path for file in published(repo)] == [".comfyignore", "LICENSE", "c.py", "keep.txt", "pyproject.toml"]
    assert told(repo) == []


@pytest.mark.parametrize("path", FLAWS)
def test_a_flaw_is_found_and_named(checkout, path):
    text, expected = FLAWS[path]
    assert told(checkout({path: text})) == [expected]


def test_links_are_found_wherever_they_lead(checkout, tmp_path):
    os.symlink("LICENSE", tmp_path / "inside")
    os.symlink("/nowhere", tmp_path / "outside")
    assert told(checkout({})) == ["inside: a symbolic link", "outside: a symbolic link"]


def test_too_much_is_said_so(checkout):
    repo = checkout({"big.bin": ""})
    with open(repo / "big.bin", "r+b") as file:
        file.truncate(MOST_BYTES)
    assert told(repo) == ["45.0 MB, less than 45 MB are allowed"]


def test_what_the_description_lacks_is_said_so(checkout):
    repo = checkout({"pyproject.toml": '[project]\nname = "x"\nversion = "1.2"\nlicense = { file = "GONE" }\n'})
    assert told(repo) == [
        "pyproject.toml: [project] lacks description", "pyproject.toml: [project] lacks requires-python",
        "pyproject.toml: [tool.comfy] lacks PublisherId", "pyproject.toml: [tool.comfy] lacks DisplayName",
        "pyproject.toml: [tool.comfy] lacks requires-comfyui", "pyproject.toml: version must be three numbers, got '1.2'",
        "pyproject.toml: the licence GONE is not among the files",
    ]  # fmt: skip
