"""Make what a bare machine with a GPU needs small enough to carry there beside the tracked files, all below 64 MiB.

    python tools/pack_for_gpu.py prepare [--talkers] [--sounds FILE]   what tools/on_gpu.sh needs -> .gpu/, which git ignores
    python tools/pack_for_gpu.py away      tracked weights, and large files of docs/, out of the tree: empty files stand in
    python tools/pack_for_gpu.py back      everything back where it was
    python tools/pack_for_gpu.py unpack    over there: weights where files are empty; ComfyUI, packages, sounds in .gpu/

`prepare` is called with the project's own Python, whose packages it packs; ComfyUI is found as everywhere. --talkers adds
what the benches of both talkers need on a CPU: the Tiny Talker's weights, the classes that run without ComfyUI, and the
speech of the held-out clips, since there is no espeak-ng over there. Between `away` and `back` nothing should be committed.
"""
import argparse
import hashlib
import importlib.util
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from demo.find_host import find_host, host_version  # noqa: E402  (needs the path above)

MOST = 64 << 20
LARGE = 50_000  # bytes of a file in docs/ that stays here
HOST_FOLDERS = ("comfy", "comfy_execution", "utils")  # of ComfyUI, and the files beside them: Python only
WHOLE = ("comfy_aimdo", "comfy_kitchen")  # packages that ComfyUI imports; they do without their compiled parts
TRACED = ("diffusers", "diffsynth", "imageio_ffmpeg")  # of these, what is imported
CLIPS = (*range(8), *range(100, 104))  # held-out ones that benches ask for, as many as there is room for
TRACE = """
import json, sys
import bench.online, bench.parts
from diffusers import UniPCMultistepScheduler
from demo.thirdparty import load_talker
load_talker()
names = json.loads(sys.argv[1])
print(json.dumps([module.__file__ for name, module in list(sys.modules.items())
                  if name.split(".")[0] in names and getattr(module, "__file__", None)]))
"""


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# -- weights -------------------------------------------------------------------------------------------------------------


def squeezed(data):
    """Two bytes of an fp16 number apart: those with the exponents compress, the others hardly do."""
    with ThreadPoolExecutor(2) as pool:  # lzma lets go of the interpreter
        high, low = pool.map(lzma.compress, (data[1::2], data[0::2]))
    body = len(data).to_bytes(8, "little") + len(high).to_bytes(8, "little") + high + low
    assert expanded(body) == data
    return body


def expanded(body):
    """What `squeezed` was given."""
    size, cut = int.from_bytes(body[:8], "little"), 16 + int.from_bytes(body[8:16], "little")
    data = bytearray(size)
    data[1::2], data[0::2] = lzma.decompress(body[16:cut]), lzma.decompress(body[cut:])
    return bytes(data)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(talkers=True):
    """The tracked weights; without `talkers` those of the wild world alone, which the training goes on from."""
    return [path for path in sorted((REPO / "demo/assets").glob("*.safetensors")) if talkers or path.name.startswith("wild")]


def pack_weights(folder, talkers):
    """Those that changed since they were packed."""
    packed, list_file = folder / "assets", folder / "weights.json"
    before = json.loads(list_file.read_text()) if list_file.exists() else {}
    packed.mkdir(exist_ok=True)
    wanted = {path.name: digest(path) for path in weights(talkers)}
    if any(path.stat().st_size == 0 for path in weights(talkers)):
        raise SystemExit("error: weights are away: python tools/pack_for_gpu.py back")
    for path in packed.glob("*.xz"):
        if wanted.get(path.stem) != before.get(path.stem):
            path.unlink()
    for name in wanted:
        if not (packed / f"{name}.xz").exists():
            say(f"packing {name}")
            (packed / f"{name}.xz").write_bytes(squeezed((REPO / "demo/assets" / name).read_bytes()))
    list_file.write_text(json.dumps(wanted, indent=1) + "\n")


# -- code ----------------------------------------------------------------------------------------------------------------


def python_files(folder):
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def place_of(package):
    """The folder of an installed package; an error names the one that is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"error: {package} is not installed for {sys.executable}: call this with .venv/bin/python")
    return Path(next(iter(spec.submodule_search_locations)))


def traced(packages):
    """Files of `packages` that the benches import, their own, which may not be run, stand-ins for what lacks needs."""
    done = subprocess.run([sys.executable, "-c", TRACE, json.dumps(packages)], cwd=REPO, check=True, text=True,
                          env=dict(os.environ, COMFYUI_PATH="none"), stdout=subprocess.PIPE)
    found = {Path(line) for line in json.loads(done.stdout.splitlines()[-1])}
    return sorted(found.union(*({one / "__init__.py", *one.glob("utils/dummy_*.py")} for one in map(place_of, packages))))


def members(host, talkers):
    """(file, its name over there) of all code that is carried."""
    files = [*host.glob("*.py"), *(path for name in HOST_FOLDERS for path in python_files(host / name))]
    yield from ((path, Path("ComfyUI") / path.relative_to(host)) for path in files)
    found = {package: place_of(package) for package in (*WHOLE, *(TRACED if talkers else ()))}
    chosen = [*(path for package in WHOLE for path in python_files(found[package])), *(traced(TRACED) if talkers else ())]
    root = found[WHOLE[0]].parent
    chosen += [path for package in found for path in root.glob(f"{package}-*.dist-info/METADATA")]  # versions are asked for
    yield from ((path, Path("site") / path.relative_to(root)) for path in chosen)


def pack_code(folder, host, talkers):
    found = list(members(host, talkers))
    with tarfile.open(folder / "code.tar.xz", "w:xz") as tar:
        for path, name in found:
            tar.add(path, str(name), recursive=False)


# -- sounds --------------------------------------------------------------------------------------------------------------


def pack_array_file(file, to):
    """An .npz without its own compression, whose place lzma takes."""
    import numpy
    plain = io.BytesIO()
    with numpy.load(file) as arrays:
        numpy.savez(plain, **arrays)
    to.write_bytes(lzma.compress(plain.getvalue()))


def toy_bank(path):
    """Sentences of noise, for trying things out."""
    import numpy
    rng, lengths = numpy.random.default_rng(0), numpy.full(12, 90)
    features = rng.integers(0, 250, (lengths.sum(), 96)).astype(numpy.uint8)
    opening = numpy.abs(255 * numpy.sin(numpy.arange(lengths.sum()) * 0.9)).astype(numpy.uint8)
    numpy.savez(path, features=features, opening=opening, train=8, lengths=lengths)


def pack_sounds(folder, sounds, toy):
    """The bank of sentences that the training draws from; made anew, which takes espeak-ng, unless one is given or there."""
    work = folder / "work"
    if sounds is None and (folder / "sounds.xz").exists():
        return
    if toy:
        work.mkdir(exist_ok=True)
        toy_bank(work / "sounds.npz")
    elif sounds is None:
        say("making the bank of sentences")
        subprocess.run([sys.executable, "-m", "demo.wild.train", "sounds", "--work", str(work)], cwd=REPO, check=True)
    pack_array_file(sounds or work / "sounds.npz", folder / "sounds.xz")
    shutil.rmtree(work, ignore_errors=True)


def pack_speech(folder):
    from demo.portraits import HELD_OUT_SEED
    from demo.speech import keep
    keep(folder / "speech.npz", [HELD_OUT_SEED + number for number in CLIPS])
    pack_array_file(folder / "speech.npz", folder / "speech.xz")
    (folder / "speech.npz").unlink()


# -- what travels --------------------------------------------------------------------------------------------------------


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=REPO, check=True, capture_output=True, text=True).stdout


def travelling():
    """All files that git tracks or would add."""
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted({REPO / name for name in names if name and (REPO / name).is_file()})


def put_aside_files():
    """What stays here: all weights, and what is large in docs/."""
    docs = [path for path in travelling() if REPO / "docs" in path.parents and path.stat().st_size > LARGE]
    return [*weights(), *docs]


def aside():
    return Path(git("rev-parse", "--absolute-git-dir").strip()) / "away-for-gpu"


def tell_size(folder):
    """Whether tree and folder are small enough, in words and as an exit status."""
    left_out = set() if aside().exists() else set(put_aside_files())
    tree = sum(path.stat().st_size for path in travelling() if path not in left_out)
    carried = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"tree {tree / 2**20:.1f} MiB, {folder.name} {carried / 2**20:.1f} MiB, together {(tree + carried) / 2**20:.1f} MiB "
        f"of {MOST >> 20}" + ("" if aside().exists() else ", once the weights are away"))
    return int(tree + carried > MOST)


def prepare(options):
    host, folder = find_host(), options.folder
    if host is None:
        raise SystemExit("error: no ComfyUI found: set COMFYUI_PATH to its folder")
    folder.mkdir(parents=True, exist_ok=True)
    pack_sounds(folder, options.sounds, options.toy)
    say(f"packing ComfyUI {host_version(host)} and what it imports")
    pack_code(folder, host, options.talkers)
    if options.toy:
        return 0
    pack_weights(folder, options.talkers)
    (folder / "speech.xz").unlink(missing_ok=True)
    if options.talkers:
        pack_speech(folder)
    return tell_size(folder)


def away(options):
    to, listed = aside(), options.folder / "weights.json"
    if to.exists():
        raise SystemExit("error: they are away already: python tools/pack_for_gpu.py back")
    packed = json.loads(listed.read_text()) if listed.exists() else {}
    if not packed or any(digest(REPO / "demo/assets" / name) != value for name, value in packed.items()):
        raise SystemExit("error: other weights are packed: python tools/pack_for_gpu.py prepare")
    for path in put_aside_files():
        kept = to / path.relative_to(REPO)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, kept)
        path.touch()
    say("The weights are away. Commit nothing until: python tools/pack_for_gpu.py back")
    return tell_size(options.folder)


def back(_options):
    """Files that are no longer empty are left alone, and the others of that name where they were put."""
    for kept in [path for path in sorted(aside().rglob("*")) if path.is_file()]:
        path = REPO / kept.relative_to(aside())
        if path.exists() and path.stat().st_size and path.read_bytes() != kept.read_bytes():
            say(f"{path.relative_to(REPO)} has been written meanwhile; the older one is {kept}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(kept, path)
    if any(path.is_file() for path in aside().rglob("*")):
        return 1
    shutil.rmtree(aside(), ignore_errors=True)
    return 0


def unpack(options):
    folder = options.folder

    def weight(path):
        to = REPO / "demo/assets" / path.stem
        if not to.exists() or not to.stat().st_size:
            to.write_bytes(expanded(path.read_bytes()))

    def arrays(path):
        path.with_suffix(".npz").write_bytes(lzma.decompress(path.read_bytes()))

    def code(path):
        with tarfile.open(path) as tar:
            tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))

    work = [*((weight, path) for path in folder.glob("assets/*.xz")), *((arrays, path) for path in folder.glob("s*.xz")),
            (code, folder / "code.tar.xz")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda pair: pair[0](pair[1]), work))
    return 0


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "away", "back", "unpack"))
    parser.add_argument("--folder", type=Path, default=REPO / ".gpu", help="default: .gpu")
    parser.add_argument("--talkers", action="store_true", help="also what benches of the talkers need on a CPU")
    parser.add_argument("--sounds", type=Path, help="a bank of sentences that demo.wild.train has made")
    parser.add_argument("--toy", action="store_true", help="a bank of noise and no weights, for tools/on_gpu.sh --dry")
    options = parser.parse_args(argv)
    return {"prepare": prepare, "away": away, "back": back, "unpack": unpack}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
