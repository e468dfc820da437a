"""Run the tests, and those in tests/host and tests/web once more with a second version of ComfyUI if there is one."""
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from demo.find_host import HostError, find_host, find_second_host, host_version  # noqa: E402  (needs the path above)

NO_TESTS = 5  # pytest's exit code
AGAIN = ("tests/host", "tests/web")  # without what is marked as answered alike by a second ComfyUI
WORKERS = max(1, min(os.cpu_count() or 1, 4))  # each holds a ComfyUI: up to 5 GiB


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def pytest(arguments, host):
    """pytest's exit code, with the tests told to use the ComfyUI in `host` (or none). A file's tests share a worker, since
    starting a server or a browser takes longer than most of them.
    """
    environment = dict(os.environ, COMFYUI_PATH="none" if host is None else str(host), OMP_NUM_THREADS="1")
    arguments = ["-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder", *arguments]
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=REPO, env=environment).returncode


def main(arguments):
    first = find_host()
    second = find_second_host(first)
    say(f"Testing with ComfyUI {host_version(first)}" if first is not None else
        "No ComfyUI found: the tests that need it are skipped (set COMFYUI_PATH to its folder)")
    folders = [folder for folder in AGAIN if (REPO / folder).is_dir()]
    code = pytest(arguments, first)
    if second is not None and not arguments and folders:
        say(f"Testing {' and '.join(folders)} with ComfyUI {host_version(second)}")
        again = pytest([*folders, "-m", "not once"], second)
        code = code or (0 if again == NO_TESTS else again)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except HostError as error:
        sys.exit(f"error: {error}")
