"""The numbers of a demo run: collected into one dictionary, printed as one table."""
import math

from synccache_core import CostModel, Layout

from .scores import fidelity, mouth_follows

# Wan2.2-S2V-14B at 832x480, 77 frames: FLOPs of one model call, as torch's own counter found them in ComfyUI's module;
# keys by the formula. Its rows: 20 latent frames of 30 x 52, and the reference.
WAN_14B = CostModel(block=41.96e12, refresh=3.287e12, other=0.13e12,
                    layout=Layout(40, (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)), keys=3.435e12)
ROWS_14B, VIDEO_14B = 32760, 31200
CAVEAT = "The Tiny Talker's numbers are evidence about the mechanism, never about a real model's quality."


def live_share_14b(video, probe=False):
    """Cost of a LIVE call there over a computed one, where so large a share of the video is live."""
    return WAN_14B.live_share(1 - (1 - video) * VIDEO_14B / ROWS_14B, probe)


def numbers(plain, fast, videos, opening, steps):
    """What a run measured. plain, fast: Takes. videos: frames [F,H,W,3] of both. opening [F] of the sound."""
    reused = fast.report.reused if fast.report else 0
    computed = steps - reused
    ideal = fast.report.speedup_ideal if fast.report else 1.0
    return {
        "steps": {"all": steps, "computed": computed, "reused": reused},
        "seconds_in_the_dit": {"plain": plain.seconds, "accelerated": fast.seconds},
        "speedup": {"measured": plain.seconds / fast.seconds, "by_operations": ideal,
                    "by_operations_on_wan2_2_s2v_14b": WAN_14B.speedup(steps, computed)},
        "psnr_to_plain_db": fidelity(videos[1], videos[0]),
        "mouth_correlation": dict(zip(("plain", "accelerated"), (mouth_follows(video, opening) for video in videos),
                                      strict=True)),
        "caveat": CAVEAT,
    }


def json_safe(value):
    """The same without infinities, which JSON lacks: an infinite PSNR means identical pictures."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    return "identical" if isinstance(value, float) and math.isinf(value) else value


def row(name, plain, fast):
    return f"{name:46}{plain:>10}{fast:>13}"


def decibels(value):
    return "identical" if math.isinf(value) else f"{value:.1f} dB"


def table(found):
    """`numbers` as text."""
    steps, seconds, speed = (found[key] for key in ("steps", "seconds_in_the_dit", "speedup"))
    mouth = found["mouth_correlation"]
    lines = [
        row("", "plain", "SyncCache"),
        row("steps computed", steps["all"], steps["computed"]),
        row("steps reused", 0, steps["reused"]),
        row("seconds in the DiT", f"{seconds['plain']:.2f}", f"{seconds['accelerated']:.2f}"),
        row("speed-up measured", "1.00x", f"{speed['measured']:.2f}x"),
        row("speed-up by operation count", "1.00x", f"{speed['by_operations']:.2f}x"),
        row("  the same steps on Wan2.2-S2V-14B, 832x480x77", "1.00x",
            f"{speed['by_operations_on_wan2_2_s2v_14b']:.2f}x"),
    ]
    lines += [row(f"PSNR to plain, {name}", "", decibels(value)) for name, value in found["psnr_to_plain_db"].items()]
    lines.append(row("mouth follows the sound (correlation)", f"{mouth['plain']:.2f}", f"{mouth['accelerated']:.2f}"))
    lines += ["human: head and shoulders where the Tiny Talker draws them (also SyncCache's human mask); mouth: its box",
              found["caveat"]]
    return "\n".join(lines)
