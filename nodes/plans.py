"""Plans and calibrations as files: below ComfyUI's models folder, since they belong to a model, and extra_model_paths.yaml
covers that.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..synccache_core.errors import BadInput
from ..synccache_core.files.checked import read, shown
from ..synccache_core.planning.plan import Plan
from ..synccache_core.planning.planned import level_words, order_words
from ..synccache_core.planning.recording import Recording
from ..synccache_core.planning.saved import SUFFIX, file_of, load, names, numbered, save
from ..synccache_core.sentences import say, told
from ..synccache_core.units import readable

FOLDER = "synccache_plans"
CALIBRATIONS = "synccache_calibrations"
VIEW = "synccache_plan"  # of what a node shows: for web/js
NOTHING = "(no plan saved yet)"  # no name of a plan may hold brackets


def register() -> None:
    """Make our folders below models known to ComfyUI, ahead of what extra_model_paths.yaml adds under the same names."""
    for folder in (FOLDER, CALIBRATIONS):
        folder_paths.add_model_folder_path(folder, str(Path(folder_paths.models_dir) / folder), is_default=True)


register()


def folders(kind: str = FOLDER) -> list[Path]:
    """Where files of a kind are looked for; the first is where they are saved."""
    return [Path(folder) for folder in folder_paths.get_folder_paths(kind)]


def saved() -> dict[str, Path]:
    """Name -> folder of every plan found; of equal names the one in the earlier folder."""
    found = {name: folder for folder in reversed(folders()) for name in names(folder)}
    return dict(sorted(found.items()))


def lines_of(plan: Plan) -> list[str]:
    """A plan for a person, a few lines."""
    scores, kind = plan.measured or plan.predicted, "measured" if plan.measured else "predicted"
    way = [level_words(plan), order_words(plan), say("with correction") if plan.correction else say("without correction")]
    if plan.groups:
        way.append(say("{count} stored residuals", count=len(plan.groups)))
    made_for = say("for {model}, made {day}", model=plan.adapter, day=plan.provenance.created)
    plain = say("takes fewer steps, at noise levels of its own; nothing is reused")
    return [
        f"{len(plan.schedule)} of {plan.evaluations} steps {'taken' if plan.plain else 'computed'}",
        f"{kind}: {scores.speedup:.2f}×, error {100 * scores.error:.2g} %, {readable(scores.bytes)}",
        plain if plan.plain else say("{parts}", parts=way),
        say("{made}: {note}", made=made_for, note=plan.provenance.note) if plan.provenance.note else made_for,
    ]


def view(plan: Plan) -> dict:
    """A plan for the pictures that web/js draws: which steps are computed, what that costs and gives, and of `lines_of` the
    lines that say what is not drawn.
    """
    scores = plan.measured or plan.predicted
    return {
        "cells": cells(plan.mask), "speedup": scores.speedup, "error": scores.error, "bytes": scores.bytes,
        "measured": plan.measured is not None, "lines": [told(line) for line in lines_of(plan)[2:]],
    }  # fmt: skip


def cells(mask: Sequence[bool]) -> str:
    """A letter per step: c = computed, r = reused."""
    return "".join("c" if computed else "r" for computed in mask)


def store(document: Plan | Recording, folder: Path, name: str) -> tuple[Path, bool]:
    """Save under the name, or name_2, name_3, ... where another file has it: nothing that was saved is ever replaced.

    The same plan again, whatever the day, is not stored twice. Returns the file and whether it is new. Raises BadInput.
    """
    # Names are compared as Windows and macOS compare them: there, saving "Talk" would replace "talk".
    taken = {other.casefold(): other for other in names(folder)}
    base = name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
    wanted, number = base, 1
    while (other := taken.get(wanted.casefold())) is not None:
        if _same(document, folder, other):
            return folder / f"{other}{SUFFIX}", False
        number += 1
        wanted = numbered(base, number)
    return save(document, folder, wanted), True


def _same(document: Plan | Recording, folder: Path, name: str) -> bool:
    """Whether a file holds this very document, the day a plan was made aside."""
    try:
        other = load(type(document), folder, name)
    except BadInput:
        return False  # somebody's unreadable file is kept as well
    if isinstance(document, Recording):
        return other.to_json() == document.to_json()
    return replace(other, provenance=replace(other.provenance, created=document.provenance.created)) == document


class SyncCacheSavePlan(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheSavePlan",
            display_name="SyncCache Save Plan",
            category="SyncCache",
            description="Keeps a plan in ComfyUI's models/synccache_plans folder. A plan of the same name stays: the new "
            "one gets a number.",
            inputs=[
                io.String.Input(
                    "plan_json", multiline=True, placeholder="connect the Schedule Optimizer, or paste a plan",
                    tooltip="From the SyncCache Schedule Optimizer, or the text of a plan that somebody shared.",
                ),
                io.String.Input(
                    "name", default="my plan",
                    tooltip="Name of the file: letters a-z, digits, spaces and . _ - only, at most 80 of them.",
                ),
            ],
            outputs=[io.String.Output(display_name="plan_json", tooltip="The plan, checked; for SyncCache.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, plan_json, name) -> io.NodeOutput:
        plan = Plan.from_json(plan_json)
        path, new = store(plan, folders()[0], name)
        done = "saved as" if new else "already saved as"
        return io.NodeOutput(plan.to_json(), ui=ui.PreviewText(f"{done} {path.parent.name}/{path.name}"))


class SyncCacheLoadPlan(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheLoadPlan",
            display_name="SyncCache Load Plan",
            category="SyncCache",
            description="A saved plan, for the plan_json of the SyncCache node.",
            inputs=[
                io.Combo.Input(
                    "plan", options=list(saved()) or [NOTHING],
                    tooltip="A file in models/synccache_plans, or in a folder of that name in extra_model_paths.yaml. "
                    "Press R to look again.",
                ),
            ],
            outputs=[io.String.Output(display_name="plan_json", tooltip="The plan, checked; for SyncCache.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, plan) -> bool | str:
        """In place of ComfyUI's "value not in list". None: the name comes over a link and is not known yet."""
        return True if plan is None or plan in saved() else missing(plan)

    @classmethod
    def fingerprint_inputs(cls, plan) -> str:
        """By content, so that an edited file is read again and one that was only touched is not."""
        found = saved()
        wanted = list(found) if plan is None else [plan]
        return " ".join(_checksum(found[name], name) for name in wanted if name in found)

    @classmethod
    def execute(cls, plan) -> io.NodeOutput:
        folder = saved().get(plan)
        if folder is None:
            raise BadInput(missing(plan))
        found = load(Plan, folder, plan)
        text = ui.PreviewText("\n".join(lines_of(found))).as_dict()
        return io.NodeOutput(found.to_json(), ui={**text, VIEW: [view(found)]})


def missing(name: str) -> str:
    """What to say where a plan is not there."""
    found = ", ".join(list(saved())[:20])
    return f"the plan {shown(name)} is not in the folder {FOLDER}; " + (f"found: {found}" if found else "it holds none yet")


def _checksum(folder: Path, name: str) -> str:
    try:
        return f"{name}:{zlib.crc32(read(file_of(folder, name), Plan.MAX_BYTES).encode()):08x}"
    except BadInput as error:
        return str(error)  # execute says it to the person
