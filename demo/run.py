"""Speech and a portrait -> a talking video, plain and accelerated by SyncCache, with a table of what it cost and kept.

`python -m demo.run --audio speech.wav --portrait portrait.png --speedup 3 --out out/`. Runs in ComfyUI with the real
nodes where ComfyUI is in reach, else on diffsynth and diffusers.
"""
import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from .console import bar, say
from .find_host import HostError, find_host, host_version
from .media import InputError, check_file

REPEATS = 2
THREADS = 4  # more only get in each other's way on tensors of this size
NAMES = {"plain": "plain.mp4", "synccache": "synccache.mp4"}


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--audio", default="demo/assets/speech.wav", help="WAV, MP3 or other; 2 seconds of it are spoken")
    parser.add_argument("--portrait", default="demo/assets/portrait.png", help="PNG or JPEG, face in the middle")
    parser.add_argument("--speedup", type=float, default=3.0, help="wanted speed-up of the DiT, 1 = off")
    parser.add_argument("--steps", type=int, default=40, help="sampler steps")
    parser.add_argument("--cache-ratio", type=float, default=1.0, help="share of the residuals that get own memory")
    parser.add_argument("--guidance", type=float, default=2.0, help="classifier-free guidance scale")
    parser.add_argument("--shift", type=float, default=8.0, help="flow shift of the schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="timed runs of each kind; the fastest counts")
    parser.add_argument("--backend", choices=("auto", "comfyui", "diffsynth"), default="auto")
    parser.add_argument("--out", default="out", help="folder for the videos, strip.png and report.json")
    return parser.parse_args(argv)


def check(options):
    """Reject values that would only fail after minutes."""
    for name, low, high in (("steps", 2, 1000), ("repeats", 1, 100), ("speedup", 1, 100), ("cache_ratio", 0, 1),
                            ("guidance", 0, 100), ("shift", 0.01, 100), ("seed", 0, 2**63 - 1)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be {low} to {high}")
    folder = Path(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {options.out!r}: cannot make this folder ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out {options.out!r}: cannot write into this folder")
    return folder


def open_backend(choice, scene, settings):
    """The backend that was asked for; "auto" means ComfyUI where it is."""
    host = None if choice == "diffsynth" else find_host()
    if choice == "comfyui" and host is None:
        raise InputError("--backend comfyui: no ComfyUI found; set COMFYUI_PATH to its folder")
    if host is None:
        from .standalone import Standalone
        return Standalone(scene, settings)
    say(f"loading ComfyUI {host_version(host)} from {host} ...")
    try:
        from .comfy_graph import Comfy
        return Comfy(host, scene, settings)
    except ImportError as error:
        raise InputError(f"ComfyUI in {host} cannot be imported ({error}); `make demo` installs what it needs, "
                         "--backend diffsynth does without it") from error


def measure(backend, config, mask, repeats):
    """(plain Take, accelerated Take), run alternately; the fastest of each kind."""
    backend.warm_up()
    takes = [(backend.sample(label="plain"), backend.sample(config, mask, label="SyncCache")) for _ in range(repeats)]
    return tuple(min(kind, key=lambda take: take.seconds) for kind in zip(*takes, strict=True))


def write(folder, scene, videos, report):
    """The two videos, the strip and the report."""
    from .media import strip, write_video
    from .talker import FPS
    for name, frames in bar(list(zip(NAMES.values(), videos, strict=True)), "writing"):
        write_video(folder / name, frames, FPS, scene.sound.numpy(), scene.rate)
    rows = {"plain": videos[0], f"SyncCache {report['speedup']['measured']:.1f}x": videos[1]}
    strip(rows).save(folder / "strip.png")
    (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def details(report):
    """Everything that SyncCache reports, as a dictionary; None where it was off."""
    return report.to_dict() if hasattr(report, "to_dict") else report and vars(report)


def film(options, folder):
    """Run everything; the heavy imports happen here, after the options were checked."""
    from .scene import Settings, read_scene
    from .talker import DIT_FILE, FPS, FRAMES, SIZE, VAE_FILE
    for file in (DIT_FILE, VAE_FILE):
        check_file(file)
    scene = read_scene(options.audio, options.portrait)
    say("loading the Tiny Talker ...")
    settings = Settings(options.steps, options.guidance, options.shift, options.seed)
    backend = open_backend(options.backend, scene, settings)
    say(f"{FRAMES} frames of {SIZE}x{SIZE} px at {FPS} fps, {settings.steps} steps, guidance {settings.guidance:g}, "
        f"on {backend.title}")
    for note in scene.notes:
        say(f"note: {note}")
    compare(backend, scene, options, folder)


def compare(backend, scene, options, folder):
    """Film the scene plain and accelerated; write the files and print the table."""
    import torch

    from synccache_core import Config

    from .scores import human_outline
    from .table import json_safe, numbers, table
    torch.set_num_threads(min(THREADS, torch.get_num_threads()))
    config = Config(target_speedup=options.speedup, cache_ratio=options.cache_ratio, level="auto", backtest=True,
                    adapt=True, correction=True)
    mask = torch.from_numpy(human_outline(scene.portrait.shape[1]))
    plain, fast = measure(backend, config, mask, options.repeats)
    videos = [backend.decode(take.latents) for take in bar((plain, fast), "decoding")]
    found = numbers(plain, fast, videos, scene.opening, options.steps)
    facts = {"backend": backend.title, "settings": asdict(backend.settings), "notes": scene.notes, **json_safe(found)}
    write(folder, scene, videos, {**facts, "synccache": details(fast.report)})
    say("\n" + table(found))
    for note in fast.report.notes if fast.report else ():
        say(f"note: {note}")


def main(argv=None):
    options = parse(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: a busy machine makes spinning threads very slow
    try:
        folder = check(options)
        film(options, folder)
    except (InputError, HostError) as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; `make demo` installs what the demo needs")
    except KeyboardInterrupt:
        sys.exit("stopped")
    say(f"\nwritten: {', '.join(str(folder / name) for name in (*NAMES.values(), 'strip.png', 'report.json'))}")


if __name__ == "__main__":
    main()
