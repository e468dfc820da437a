"""What a person should know of a plan before using it: what cannot be met, what will show, and how sure an error is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..report.report import needless
from .plan import Budget
from .recipes import default
from .recording import Recording

if TYPE_CHECKING:
    from .planner import Choice

REPLAYED, CARRIED, GUESSED = "replayed", "carried", "guessed"  # where a predicted error comes from
SURE = 6  # clips that a measured error may be taken from without a word: of two, a clip's error is four times off at times
FAR = 0.03  # relative L2 of the final latent to warn of: 4x and more of 20 uni_pc steps at guidance 4.5 in docs/RESULTS.md
SLUGGISH = 0.85  # of the counted speed: a measured one below this is worth a word
NO_GAIN = "calibrating gains nothing here: nothing that was tried is clearly nearer than the default preset"
DOUBT = {
    REPLAYED: "measured on {clips}: the error on others can differ several times",
    CARRIED: "the error is carried over from another speed, where this kind of plan was sampled: it may be ten times as "
    "large or as small; calibrate at this speed to measure it",
    GUESSED: "nothing like this plan was sampled: under strong guidance the error can be 30 times as large; calibrate with "
    "replays to measure it",
}


def remarks(choice: "Choice", budget: Budget, recording: Recording) -> Iterator[str]:
    """What a person should know of a choice: sentences."""
    if budget.speedup is not None and choice.speedup < 0.9 * budget.speedup:
        most = f"{choice.computed} computed steps give {choice.speedup:.1f}x"
        yield f"speed-up {budget.speedup:g} is out of reach: {most}"
    if budget.computed is not None and choice.computed != budget.computed:
        yield f"{budget.computed} computed steps are not possible here, {choice.computed} are planned"
    if recording.layout.unknown and (budget.cache_ratio or 1.0) < 1:
        yield needless("cache_ratio")
    if choice.error >= FAR:
        yield f"a predicted error of {choice.error:.2%} will show: ask for less speed, or take more steps"
    if choice.computed < recording.steps and (choice.basis != REPLAYED or recording.count < SURE):
        clips = "one clip" if recording.count == 1 else f"{recording.count} clips"
        yield DOUBT[choice.basis].format(clips=clips)
    if choice.basis != GUESSED and choice.recipe == default(recording, budget):
        yield NO_GAIN
    seconds = _in_seconds(choice, recording)
    if seconds < SLUGGISH * choice.speedup:
        yield f"{choice.speedup:.1f}x by operation count, about {seconds:.1f}x by the seconds of the calibration"


def _in_seconds(choice: "Choice", recording: Recording) -> float:
    """Speed-up by what a reused step took in the calibration; the counted one where that is not known."""
    share, steps = recording.shares.get(choice.variant.level), recording.steps
    return choice.speedup if share is None else steps / (choice.computed + (steps - choice.computed) * share)
