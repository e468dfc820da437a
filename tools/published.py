"""What the registry would get of this checkout, and whether it may: `python -m tools.published [--files]`. Nothing is sent.

As `comfy node publish` packs it: what git tracks, without what .comfyignore names. The registry refuses symbolic links and
compiled Python (governance of ComfyUI 0.38) and scans the text of every file; what its rules look for is `FLAGGED`.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

REPO = Path(__file__).resolve().parents[1]
IGNORED = ".comfyignore"
MOST_BYTES = 45_000_000
COMPILED = (".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib")
LINK, SUBMODULE = "120000", "160000"  # modes, as git has them
# The registry matches these texts anywhere, also in comments.
FLAGGED = re.compile(
    rb"os\.environ|os\.getenv|subprocess|os\.system|urllib|\brequests\b|aiohttp|\bsocket\b|\.bind\(|importlib\.import_module"
    rb"|__import__|sys\.modules|\beval\(|\.eval\(|\bexec\(|rm -rf|sqlite3|\bcompile\("
)
ASKED = {  # of pyproject.toml: (table, key)
    "project": ("name", "version", "description", "license", "requires-python"),
    "tool.comfy": ("PublisherId", "DisplayName", "requires-comfyui"),
}


@dataclass(frozen=True)
class File:
    """One that git tracks. mode: git's. path: from the root of the repository."""

    path: str
    mode: str


def tracked(repo: Path, *arguments: str) -> list[File]:
    """By git ls-files; [] where there is no git checkout."""
    command = ["git", "-c", "core.quotePath=false", "ls-files", "-z", "--stage", *arguments]
    done = subprocess.run(command, cwd=repo, capture_output=True)
    lines = [line for line in done.stdout.decode("utf-8").split("\0") if line]
    return [File(line.partition("\t")[2], line.split(" ")[0]) for line in lines]


def published(repo: Path = REPO) -> list[File]:
    """Every file that would be packed, in order."""
    left_out = set()
    if (repo / IGNORED).is_file():
        left_out = {file.path for file in tracked(repo, "--cached", "--ignored", "--exclude-from", IGNORED)}
    return sorted((file for file in tracked(repo) if file.path not in left_out), key=lambda file: file.path)


def size(repo: Path, files: list[File]) -> int:
    """Bytes of all files together, not packed."""
    return sum((repo / file.path).lstat().st_size for file in files if file.mode != SUBMODULE)


def faults(repo: Path, files: list[File]) -> Iterator[str]:
    """Why the registry would refuse these files, or flag them."""
    for file in files:
        if file.mode in (LINK, SUBMODULE):
            yield f"{file.path}: a {'symbolic link' if file.mode == LINK else 'submodule'}"
            continue
        if file.path.endswith(COMPILED) or "__pycache__" in Path(file.path).parts:
            yield f"{file.path}: compiled code"
        for number, line in enumerate((repo / file.path).read_bytes().split(b"\n"), 1):
            if match := FLAGGED.search(line):
                yield f"{file.path}:{number}: {match.group().decode()}"
    if (total := size(repo, files)) >= MOST_BYTES:
        yield f"{total / 1e6:.1f} MB, less than {MOST_BYTES / 1e6:g} MB are allowed"


def about(repo: Path, files: list[File]) -> Iterator[str]:
    """What pyproject.toml lacks for publishing."""
    paths = {file.path for file in files}
    if "pyproject.toml" not in paths:
        yield "pyproject.toml: not among the files"
        return
    facts = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))
    project, tool = facts.get("project", {}), facts.get("tool", {}).get("comfy", {})
    for table, found in zip(ASKED, (project, tool)):
        yield from (f"pyproject.toml: [{table}] lacks {key}" for key in ASKED[table] if not found.get(key))
    if not re.fullmatch(r"\d+\.\d+\.\d+", project.get("version", "")):
        yield f"pyproject.toml: version must be three numbers, got {project.get('version')!r}"
    license_file = (project.get("license") or {}).get("file") if isinstance(project.get("license"), dict) else None
    if license_file and license_file not in paths:
        yield f"pyproject.toml: the licence {license_file} is not among the files"


def reminders(repo: Path) -> Iterator[str]:
    """What only the publisher can fill in."""
    facts = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))
    if not facts.get("project", {}).get("urls", {}).get("Repository"):
        yield "pyproject.toml has no [project.urls] Repository: the registry shows it, and the Manager links to it"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.published", description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="list every file with its bytes")
    options = parser.parse_args()
    files = published()
    if not files:
        sys.exit("error: not a git checkout, so nobody knows what would be packed")
    say = sys.stdout.write
    for file in files if options.files else ():
        say(f"{(REPO / file.path).lstat().st_size:>12,}  {file.path}\n")
    found = [*faults(REPO, files), *about(REPO, files)]
    say(f"{len(files)} files, {size(REPO, files) / 1e6:.1f} MB of {MOST_BYTES / 1e6:g} MB; {len(found)} faults\n")
    for text in (*found, *(f"reminder: {text}" for text in reminders(REPO))):
        say(f"{text}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
