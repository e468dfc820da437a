"""Make .venv: everything that the demo and the tests need. Standard library only; `make` calls it before each target.

With a ComfyUI folder in reach its requirements are installed too, and with DETECTOR=1 in the environment ultralytics. A
second ComfyUI gets the editor that it was released with, in a folder of its own. A stamp file makes the second call return
at once.
"""
import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from demo.find_host import HostError, find_host, find_second_host, host_version  # noqa: E402  (needs the path above)

VENV = REPO / ".venv"
STAMP = "setup.json"
LOG = "setup.log"
OLDEST = (3, 10)
# ComfyUI leaves these open; the three must come from one release, or the compiled parts of the latter two do not load.
HOST_TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
REQUIREMENTS = "requirements-dev.txt"
NODEPS = "requirements-nodeps.txt"
DETECTOR = "requirements-detector.txt"
EDITOR = "comfyui-frontend-package"
# Of newer ComfyUIs; the newest is what PyPI has, ComfyUI 0.45 itself pins one that is not there.
CURRENT_EDITORS = ("1.53.6", "1.58.1")
# Runs inside .venv: prints those requirements (a JSON list on stdin) that its packages do not meet.
CHECK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
from pip._vendor.packaging.requirements import Requirement
def met(line):
    wanted = Requirement(line)
    if wanted.marker and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
print(json.dumps([line for line in json.load(sys.stdin) if not met(line)]))
"""


class SetupError(Exception):
    """Setting up did not work; the text tells the user what to do."""


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_requirements(path):
    """The requirement lines of a pip file, without comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def wants_detector(environment=os.environ):
    """Whether DETECTOR asks for ultralytics, which is AGPL-3.0 and so is installed for nobody who did not ask."""
    return environment.get("DETECTOR", "").strip() not in ("", "0")


def plan(host, detector=False):
    """[(what it is called, requirement lines, extra pip options)], in the order to install."""
    if detector and host is None:
        raise SetupError("DETECTOR=1 is for tests in ComfyUI, whose packages it builds on: set COMFYUI_PATH to its folder")
    groups = []
    if host is not None:
        groups.append(("PyTorch for ComfyUI", list(HOST_TORCH), ()))
        groups.append((f"what ComfyUI {host_version(host)} needs",
                       [*HOST_TORCH, *read_requirements(host / "requirements.txt")], ()))
    pins = list(HOST_TORCH) if host is not None else []
    groups.append(("the demo and the tests", pins + read_requirements(REPO / REQUIREMENTS), ()))
    groups.append(("the S2V model class", read_requirements(REPO / NODEPS), ("--no-deps",)))
    if detector:
        groups.append(("ultralytics (AGPL-3.0)", read_requirements(REPO / DETECTOR), ("--no-deps",)))
    return groups


def fingerprint(groups, host):
    """Changes whenever something else would have to be installed."""
    facts = [platform.python_version(), str(host), [list(group) for group in groups]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def is_ready(venv, key):
    """Whether an earlier call completed with the same plan."""
    try:
        return json.loads((venv / STAMP).read_text(encoding="utf-8")).get("key") == key and venv_python(venv).exists()
    except (OSError, ValueError):
        return False


def venv_python(venv):
    return venv / "bin" / "python"


def runs(command):
    """Whether a command starts and ends well."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def base_python():
    """A Python that is new enough: this one, or a newer one on the PATH."""
    if sys.version_info >= OLDEST:
        return sys.executable
    test = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    for name in ("python3.12", "python3.13", "python3.11", "python3.10"):
        if runs([name, "-c", test]):
            return name
    raise SetupError(f"Python {'.'.join(map(str, OLDEST))} or newer is needed; this is {platform.python_version()}.\n"
                     "Install one and run: make PYTHON=/path/to/python3 ...")


def make_venv(venv):
    """Create the virtual environment, unless a working one is there."""
    if runs([str(venv_python(venv)), "-m", "pip", "--version"]):
        return
    done = subprocess.run([base_python(), "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stdout + done.stderr).strip()
        raise SetupError(f"Python could not make a virtual environment in {venv}:\n{reason}\n"
                         "On Debian and Ubuntu: apt install python3-venv")


def unmet(venv, lines):
    """Those requirement lines that the packages in `venv` do not meet."""
    command = [str(venv_python(venv)), "-c", CHECK]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else lines


def install(venv, name, lines, options=()):
    """pip install what is missing; pip's own words go to the log file."""
    missing = unmet(venv, lines)
    if not missing:
        return
    say(f"  installing {name} ...")
    start = time.monotonic()
    command = [str(venv_python(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *options]
    with open(venv / LOG, "a", encoding="utf-8") as log:
        done = subprocess.run([*command, *lines], stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SetupError(pip_failure(venv, name))
    say(f"    done in {time.monotonic() - start:.0f} s")


def pip_failure(venv, name):
    """The message for a user whose pip failed, with pip's last error lines."""
    lines = (venv / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR")][-3:] or lines[-3:]
    told = "\n".join(f"    {line}" for line in errors)
    return (f"pip could not install {name}:\n{told}\n"
            "pip must be able to reach the Python package index, and needs about 8 GB of free disk space.\n"
            f"Correct that and run make again; what is already installed is kept. Full log: {venv / LOG}")


def pinned_editor(host):
    """The version of the editor that a ComfyUI was released with, or None."""
    pinned = (line.partition("==") for line in read_requirements(host / "requirements.txt"))
    return next((version.strip() for name, _, version in pinned if name.strip() == EDITOR and version), None)


def editor_folder(version, venv=VENV):
    """Where an editor is that is not the one among the packages of `venv`."""
    return venv / "editors" / version / EDITOR.replace("-", "_") / "static"


def missing_editors(venv, host):
    """Versions of the editor that the browser tests need beside the one that `host` got installed."""
    second = find_second_host(host) if host else None
    wanted = {*CURRENT_EDITORS, second and pinned_editor(second)} - {None, pinned_editor(host)} if host else set()
    return sorted(version for version in wanted if not editor_folder(version, venv).is_dir())


def install_editor(venv, version):
    """Try once: without it the tests use the installed editor and say so, so this is no reason to stop."""
    command = [str(venv_python(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "1",
               "--no-deps", "--target", str(venv / "editors" / version), f"{EDITOR}=={version}"]
    with open(venv / LOG, "a", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    say(f"  editor {version} " + ("installed" if done.returncode == 0 else "could not be installed, see .venv/setup.log"))


def set_up(venv=VENV):
    """Bring `venv` up to date."""
    host = find_host()
    install_packages(venv, host)
    for version in missing_editors(venv, host):
        install_editor(venv, version)


def install_packages(venv, host):
    """Everything that is asked for, unless an earlier call has done the same."""
    groups = plan(host, wants_detector())
    key = fingerprint(groups, host)
    if is_ready(venv, key):
        return
    say(f"Setting up in {venv.name}/ (the first time takes about 3 minutes) ...")
    say(f"  with ComfyUI {host_version(host)} in {host}" if host is not None else
        "  without ComfyUI (set COMFYUI_PATH to its folder to use it)")
    make_venv(venv)
    for group in groups:
        install(venv, *group)
    (venv / STAMP).write_text(json.dumps({"key": key, "host": str(host)}), encoding="utf-8")
    say("  ready")


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    try:
        set_up()
    except (SetupError, HostError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
