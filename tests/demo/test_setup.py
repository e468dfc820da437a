"""make, the set-up script and the search for ComfyUI; nothing is installed here."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo import find_host

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tools"))
import run_tests  # noqa: E402  (needs the path above)
import setup_env  # noqa: E402


def fake_host(folder, version="9.9.9"):
    (folder / "comfy/ldm").mkdir(parents=True)
    (folder / "nodes.py").touch()
    (folder / "comfyui_version.py").write_text(f'# made\n__version__ = "{version}"\n')
    (folder / "requirements.txt").write_text("einops\naiohttp>=3.11.8  # web\n\n#non essential:\nkornia\n")
    return folder


def test_named_host_is_found(tmp_path):
    host = fake_host(tmp_path / "my comfy")
    assert find_host.find_host(environment={"COMFYUI_PATH": f" {host} "}) == host
    assert find_host.host_version(host) == "9.9.9"


def test_none_means_no_host():
    assert find_host.find_host(environment={"COMFYUI_PATH": "none"}) is None


def test_wrong_host_is_an_error_not_a_surprise(tmp_path):
    with pytest.raises(find_host.HostError, match="COMFYUI_PATH=.*not a ComfyUI folder"):
        find_host.find_host(environment={"COMFYUI_PATH": str(tmp_path)})


def test_host_above_the_pack_comes_first(tmp_path, monkeypatch):
    host = fake_host(tmp_path / "ComfyUI")
    fake_host(tmp_path / "home/comfy/ComfyUI")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(find_host, "REPO", host / "custom_nodes/ComfyUI-SyncCache")
    assert find_host.find_host(environment={}) == host
    monkeypatch.setattr(find_host, "REPO", tmp_path / "elsewhere/pack")
    assert find_host.find_host(environment={}) == tmp_path / "home/comfy/ComfyUI"


def test_second_host(tmp_path):
    first, second = fake_host(tmp_path / "ComfyUI"), fake_host(tmp_path / "ComfyUI-0.20.1")
    (tmp_path / "ComfyUI-notes").mkdir()
    assert find_host.find_second_host(first, {}) == second
    assert find_host.find_second_host(first, {"COMFYUI_PATH_2": str(first)}) == first
    assert find_host.find_second_host(first, {"COMFYUI_PATH_2": "none"}) is None
    assert find_host.find_second_host(None, {}) is None
    assert find_host.find_second_host(second, {}) is None


def test_requirements_are_read_without_comments(tmp_path):
    host = fake_host(tmp_path / "ComfyUI")
    assert setup_env.read_requirements(host / "requirements.txt") == ["einops", "aiohttp>=3.11.8", "kornia"]


def test_plan_pins_torch_only_for_a_host(tmp_path):
    alone, hosted = setup_env.plan(None), setup_env.plan(fake_host(tmp_path / "ComfyUI"))
    assert [name for name, *_ in hosted][0] == "PyTorch for ComfyUI"
    assert "torch==2.11.0" in hosted[0][1] and "kornia" in hosted[1][1]
    assert not any("==" in line for line in alone[0][1]) and any(line.startswith("torch>=") for line in alone[0][1])
    assert alone[-1][2] == ("--no-deps",)


def test_ultralytics_is_installed_only_where_it_is_asked_for(tmp_path):
    host = fake_host(tmp_path / "ComfyUI")
    assert not any("ultralytics" in line for _, lines, _ in setup_env.plan(host) for line in lines)
    *others, (name, lines, options) = setup_env.plan(host, detector=True)
    assert others == setup_env.plan(host) and "AGPL" in name and options == ("--no-deps",)
    assert "ultralytics>=8.4" in lines and "opencv-python-headless" in lines and not any("torch" in x for x in lines)
    with pytest.raises(setup_env.SetupError, match="set COMFYUI_PATH"):
        setup_env.plan(None, detector=True)
    asked = [text for text in ("", " ", "0", "1", "yes") if setup_env.wants_detector({"DETECTOR": text})]
    assert asked == ["1", "yes"] and not setup_env.wants_detector({})


def test_stamp_depends_on_requirements_and_host(tmp_path):
    host = fake_host(tmp_path / "ComfyUI")
    first = setup_env.fingerprint(setup_env.plan(host), host)
    assert first == setup_env.fingerprint(setup_env.plan(host), host)
    assert first != setup_env.fingerprint(setup_env.plan(None), None)
    (host / "requirements.txt").write_text("einops>=1\n")
    assert first != setup_env.fingerprint(setup_env.plan(host), host)


def test_ready_only_with_stamp_and_python(tmp_path):
    assert not setup_env.is_ready(tmp_path, "k")
    (tmp_path / setup_env.STAMP).write_text('{"key": "k"}')
    assert not setup_env.is_ready(tmp_path, "k")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").touch()
    assert setup_env.is_ready(tmp_path, "k") and not setup_env.is_ready(tmp_path, "other")
    (tmp_path / setup_env.STAMP).write_text("cut off {")
    assert not setup_env.is_ready(tmp_path, "k")


def test_a_second_host_gets_its_own_editor(tmp_path, monkeypatch):
    """Once, and only where it was released with another one; without it there is a note, and no error."""
    first, second, venv = fake_host(tmp_path / "ComfyUI"), fake_host(tmp_path / "ComfyUI-1"), tmp_path / "venv"
    (first / "requirements.txt").write_text("comfyui-frontend-package==1.2.0\n")
    monkeypatch.delenv("COMFYUI_PATH_2", raising=False)
    monkeypatch.setattr(setup_env, "CURRENT_EDITORS", ())
    assert setup_env.missing_editors(venv, first) == []  # the second host names none
    (second / "requirements.txt").write_text("comfyui-frontend-package==1.2.0  # the same\n")
    assert setup_env.missing_editors(venv, first) == [] and setup_env.missing_editors(venv, None) == []
    (second / "requirements.txt").write_text("comfyui-frontend-package==1.1.9\neinops\n")
    assert setup_env.missing_editors(venv, first) == ["1.1.9"]
    setup_env.editor_folder("1.1.9", venv).mkdir(parents=True)
    assert setup_env.missing_editors(venv, first) == []


def test_current_editors_are_had_with_any_host_but_once(tmp_path, monkeypatch):
    host, venv = fake_host(tmp_path / "ComfyUI"), tmp_path / "venv"
    monkeypatch.delenv("COMFYUI_PATH_2", raising=False)
    monkeypatch.setattr(setup_env, "CURRENT_EDITORS", ("1.4.0", "1.5.0"))
    (host / "requirements.txt").write_text("comfyui-frontend-package==1.5.0\n")
    assert setup_env.missing_editors(venv, None) == []
    assert setup_env.missing_editors(venv, host) == ["1.4.0"]  # the other is its own, and among the packages


def test_an_editor_that_cannot_be_had_stops_nothing(this_python, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    setup_env.install_editor(tmp_path, "1.1.9")
    assert "editor 1.1.9 could not be installed" in capsys.readouterr().out
    assert not setup_env.editor_folder("1.1.9", tmp_path).exists()


@pytest.fixture
def this_python(monkeypatch):
    """The set-up script looks into the environment that runs the tests."""
    monkeypatch.setattr(setup_env, "venv_python", lambda venv: Path(sys.executable))


def test_only_unmet_requirements_are_found(this_python, tmp_path):
    lines = ["pytest>=1", "pytest>=999", "no-such-package-1", "torch; python_version < '3'"]
    assert setup_env.unmet(tmp_path, lines) == ["pytest>=999", "no-such-package-1"]


def test_nothing_is_installed_when_all_is_met(this_python, tmp_path, capsys):
    setup_env.install(tmp_path, "pytest", ["pytest>=1"])
    assert capsys.readouterr().out == "" and not (tmp_path / setup_env.LOG).exists()


def test_failing_pip_is_explained(this_python, tmp_path):
    options = ("--no-index", "--quiet")
    with pytest.raises(setup_env.SetupError, match="(?s)could not install a thing.*No matching.*index.*setup.log"):
        setup_env.install(tmp_path, "a thing", ["no-such-package-1"], options)


def test_old_python_is_explained(monkeypatch):
    monkeypatch.setattr(setup_env, "OLDEST", (99, 0))
    with pytest.raises(setup_env.SetupError, match="Python 99.0 or newer is needed"):
        setup_env.base_python()


FAKE_PYTHON = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done
"""


@pytest.fixture
def fake_repo(tmp_path):
    """The Makefile in a folder with a space, with a python that prints its arguments."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "a folder"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(REPO / "Makefile", folder)
    python = folder / ".venv/bin/python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return folder


def make(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "ARGS"}
    done = subprocess.run(["make", "--no-print-directory", "PYTHON=true", *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_make_demo_passes_values_as_they_are(fake_repo):
    printed = make(fake_repo, "demo", "AUDIO=/my files/it's \"me\".wav", "OUT=out dir", "SPEEDUP=2.5", "STEPS=8")
    assert printed == ["-m", "demo.run", "--audio", "/my files/it's \"me\".wav",
                       "--portrait", "demo/assets/portrait.png",
                       "--speedup", "2.5", "--steps", "8", "--out", "out dir"]


def test_make_test_passes_arguments(fake_repo):
    assert make(fake_repo, "test", "ARGS=-k setup -x") == ["tools/run_tests.py", "-k", "setup", "-x"]


@pytest.mark.parametrize(("codes", "arguments", "expected", "calls"), [
    ((0, 0), [], 0, 2), ((1, 0), [], 1, 2), ((0, 3), [], 3, 2), ((0, 5), [], 0, 2), ((2,), ["-x"], 2, 1)])
def test_both_hosts_count(tmp_path, monkeypatch, codes, arguments, expected, calls):
    first, second = fake_host(tmp_path / "ComfyUI"), fake_host(tmp_path / "ComfyUI-1")
    for folder in run_tests.AGAIN:
        (tmp_path / folder).mkdir(parents=True)
    asked, answers = [], iter(codes)
    monkeypatch.setattr(run_tests, "REPO", tmp_path)
    monkeypatch.setattr(run_tests, "find_host", lambda: first)
    monkeypatch.setattr(run_tests, "pytest", lambda words, host: asked.append((words, host)) or next(answers))
    monkeypatch.delenv("COMFYUI_PATH_2", raising=False)
    assert run_tests.main(arguments) == expected
    again = ["tests/host", "tests/web", "-m", "not once"]
    assert asked == [(arguments, first), (again, second)][:calls]


def test_make_alone_helps(fake_repo):
    assert any("make demo" in line for line in make(fake_repo))


def test_ci_runs_make_test():
    script = REPO / ".ci/run"
    assert os.access(script, os.X_OK) and script.read_text().rstrip().endswith("exec make test")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
