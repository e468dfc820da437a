"""The ways that `bench.quality` compares on every clip, at one setting, and how each is filmed."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from zlib import crc32

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from demo.sampling import evaluated_at, integrate
from demo.standalone import LATENT, Standalone
from demo.table import WAN_14B, live_share_14b
from demo.worlds import WORLDS
from synccache_core import Config, Grid, __version__, attach, fewer
from synccache_core.config import MAX_ORDER
from synccache_core.model.adapters import find
from synccache_core.model.cost import CostModel, affordable
from synccache_core.model.layout import even_groups, groups_for_ratio
from synccache_core.planning.plan import Budget, Plan
from synccache_core.planning.planner import Choice, Planner
from synccache_core.planning.recipes import every
from synccache_core.planning.schedule import Variant
from synccache_core.reuse.live import live_tokens

from .harness import held_out_scene
from .hooks import sample_with, sampler_of
from .metrics import figures, mouth
from .regions import places
from .remember import Memory
from .rivals import Make, make
from .settings import TESTED, Setting

RATIOS = (0.5, 0.25)  # 1 is the plan itself, 1 / M its audio frozen
FLOORS = {"uncached, other attention kernel": "math", "uncached, matrix products in bfloat16": "bfloat16"}
CREATED = "2026-01-01"  # plans made on another day are the same plans


@dataclass(frozen=True)
class Row:
    """One way. group: ours, plain, rival, native or floor. count: computed steps or cost that it was made for.

    often: whether it is measured with every seed; ablations with the first only. One of sigmas (fewer steps), cache, plan,
    config, threshold (of a cache of ComfyUI) and floor says what it does; sampler: of `sigmas`. masked: with the true mask
    of the human. live: where else LIVE evaluations compute, see `bench.regions`.
    """

    name: str
    group: str
    count: int
    often: bool = True
    sigmas: tuple[float, ...] | None = None
    sampler: str = "euler"
    cache: Make | None = None
    plan: Plan | None = None
    config: Config | None = None
    masked: bool = False
    threshold: float | None = None
    floor: str = ""
    live: str = ""

    @property
    def recipe(self) -> tuple:
        """What it does, whatever it is called and promises: plans that were asked for in other ways may come to the same.

        Sigmas to nine digits: what was measured on one machine is found again on another.
        """
        plan, sigmas = self.plan, self.sigmas and tuple(float(f"{sigma:.9g}") for sigma in self.sigmas)
        if plan:
            kind = (plan.kind, plan.backtest) if plan.plain or plan.backtest else ()  # so that older figures are still found
            plan = (plan.schedule, plan.level, plan.order, plan.correction, plan.groups, plan.merge, plan.probe, *kind)
        masked = (self.live, self.config.live, self.config.live_reach) if self.live else self.masked
        return plan, self.config, masked, sigmas, self.sampler, self.cache, self.threshold, self.floor

    @property
    def key(self) -> str:
        """The same for the same way: what was measured is found again by it."""
        return f"{self.name} | {self.count} | {crc32(repr(self.recipe).encode()):08x}"


@dataclass
class Ours:
    """SyncCache's ways at one setting. masked: planned from calibrations with a mask of the human."""

    setting: Setting
    planner: Planner
    masked: Planner

    def rows(self, counts: Sequence[int]) -> list[Row]:
        """counts: of 40 steps."""
        made = [row for count in counts for row in self.curves(self.setting.count(count))]
        for count in (c for c in TESTED if c in counts):
            made += self.audio_and_mask(self.setting.count(count))
        if TESTED[0] in counts:
            made += self.ablations(self.setting.count(TESTED[0]))
        return made

    def curves(self, count: int) -> list[Row]:
        planned = Row("planned", "ours", count, plan=self.at_cost(self.planner, count))
        residual = Row("planned, residuals", "ours", count, plan=self.plan(self.best("residual", count)))
        return [planned, residual, self.online("online", count, often=True)]

    def audio_and_mask(self, count: int) -> list[Row]:
        """Residuals with the audio frozen, those without probe that cost as much as `count` bare steps, and a mask."""
        fresh, ways = self.plan(self.best("residual", count)), {}
        ways["planned, residuals, audio frozen, rho 1/M"] = replace(
            fresh, groups=even_groups(self.planner.recording.layout, 1), merge="freeze")  # fmt: skip
        ways["planned, residuals' steps, outputs reused"] = replace(fresh, level="output", groups=())
        ways["planned, outputs"] = self.plan(self.best("output", count))
        for name, cost in (("this model", self.planner.recording.cost), ("14B", WAN_14B)):
            fewer = most_computed(count, self.setting.steps, cost.share("residual", 1, "refresh", probe=False))
            probeless = replace(self.plan(self.best("residual", fewer)), probe=False)
            ways[f"planned, residuals, no probe, at cost on {name}"] = probeless
        ways["planned, masked"] = self.at_cost(self.masked, count)
        made = [Row(name, "ours", count, often=False, plan=plan) for name, plan in ways.items()]
        return [*made, self.online("online, masked", count, masked=True)]

    def ablations(self, count: int) -> list[Row]:
        layout, made = self.planner.recording.layout, []
        best = self.best("residual", count)
        for ratio in RATIOS:
            groups = self.planner.segmentation.best(groups_for_ratio(layout, ratio))
            name = f"planned, residuals, rho {ratio:g}"
            cuts = {name: self.planner.segmentation.groups[groups], f"{name}, even cuts": even_groups(layout, groups)}
            made += [Row(name, "ours", count, often=False, plan=replace(self.plan(best), groups=groups))
                     for name, groups in cuts.items()]  # fmt: skip
        for level, order in product(("output", "residual"), (0, 1, 2)):
            plan = self.plan(self.best(level, count, order))
            made.append(Row(f"planned, {level}s, order {order}", "ours", count, often=False, plan=plan))
        made += [self.online(f"online, rho {ratio}", count, cache_ratio=value)
                 for ratio, value in (("0.5", 0.5), ("0.25", 0.25), ("1/M, audio frozen", 0.0))]  # fmt: skip
        return made + [self.online(f"online, order {order}", count, forecast_order=order) for order in (0, 2)]

    def at_cost(self, planner: Planner, count: int) -> Plan:
        """The best plan that is as quick as `count` bare steps."""
        budget = as_quick(self.setting, count)
        return planner.plan(planner.choose(budget), budget, __version__, created=CREATED)

    def plan(self, choice: Choice) -> Plan:
        return self.planner.plan(choice, Budget(computed=choice.computed), __version__, created=CREATED)

    def best(self, level: str, count: int, order: int | None = None) -> Choice:
        """Least predicted error among this level's variants with `count` computed steps and all residuals."""
        orders = range(MAX_ORDER + 1) if order is None else (order,)
        kinds = every(self.planner.recording, (level,), orders, (False, True))
        found = [self.planner.make(recipe, count) for recipe in kinds if recipe.alpha is None]
        return min(found, key=lambda choice: choice.error)

    def online(self, name: str, count: int, often: bool = False, masked: bool = False, **settings) -> Row:
        target = self.planner.recording.cost.speedup(self.setting.steps, count)
        return Row(name, "ours", count, often=often, masked=masked, config=Config(target_speedup=target, **settings))


def as_quick(setting: Setting, count: int) -> Budget:
    """As quick as `count` bare steps, with all memory: what an artist asks for is a speed."""
    return Budget(speedup=setting.steps / count, cache_ratio=1.0)


def most_computed(cost: int, steps: int, share: float) -> int:
    """The most computed steps n with n + (steps - n) share <= cost."""
    return max(1, int(affordable(steps, steps / cost, share) + 1e-9))


def planned_sigmas(planner: Planner, count: int, order: int, correction: bool) -> tuple[float, ...]:
    """Where a plan that reuses outputs computes: the best sigmas for so many plain steps that we know to find."""
    sigmas = planner.recording.run.sigmas
    solution = planner.solve(Variant("output", order, correction))
    return (*(sigmas[step] for step in solution.schedules[count]), sigmas[-1])


def floors() -> list[Row]:
    return [Row(name, "floor", 0, often=False, floor=kind) for name, kind in FLOORS.items()]


Job = tuple[Setting, int, int, Sequence[Row]]  # setting, number of a clip, seed, ways


def film(job: Job) -> dict[str, dict]:
    """{key: figures} of the ways on one clip and seed, and what the uncached video is like by itself."""
    setting, number, seed, rows = job
    on, opening = setting.stage(number, seed), held_out_scene(number, setting.world).opening
    sampler, memory = Run(setting, on, number), Memory(on.talker.dit.blocks)
    with memory:
        plain = sampler.uncached()
    frames, seen = on.decode(plain), []
    found, done = {"uncached": mouth(frames, opening, setting.world)}, {}
    for row in rows:
        recipe = repr(row.recipe)
        if recipe not in done:
            with nullcontext() if row.floor else memory:  # a floor is what other arithmetic makes of the same inputs
                done[recipe] = sampler.sample(row)
        latents, cost = done[recipe]
        near = next((figures for known, figures in seen if torch.equal(known, latents)), None)
        near = near or figures(on.decode(latents), frames, opening, setting.world)
        seen.append((latents, near))
        found[row.key] = cost | near
    memory.known.clear()  # now, not when cycles are looked for
    return found


@dataclass
class Run:
    """Samples ways on one clip with one noise."""

    setting: Setting
    on: Standalone
    number: int

    def plain(self, sampler: str, sigmas: Sequence[float]) -> torch.Tensor:
        return integrate(sampler, self.on.noise(), sigmas, lambda x, sigma: self.on.guided(x, sigma, None))

    def uncached(self) -> torch.Tensor:
        return self._uncached

    @cached_property
    @torch.inference_mode()
    def _uncached(self) -> torch.Tensor:
        return self.plain(self.setting.sampler, self.setting.sigmas)

    @torch.inference_mode()
    def sample(self, row: Row) -> tuple[torch.Tensor, dict[str, float]]:
        """(latents, computed steps and cost in full steps, for this model and for Wan2.2-S2V-14B)."""
        if row.plan or row.config:
            return self._synccache(row)
        if row.cache:
            cache = make(row.cache, self.setting.steps)
            latents = sample_with(self.on, cache, self.setting.sampler, self.setting.sigmas)
            return latents, costs(cache.computed, cache.spent(self.cost), cache.spent(WAN_14B))
        if row.floor:
            with FLOOR_CONTEXTS[row.floor]():
                return self.plain(self.setting.sampler, self.setting.sigmas).float(), costs(*[self.setting.steps] * 3)
        return self.plain(row.sampler, row.sigmas), costs(*[len(row.sigmas) - 1] * 3)

    @cached_property
    def mask(self) -> torch.Tensor:
        """The human, [F, H, W] in 0..1: of the renderer's clip, or in the wild world of the uncached video."""
        return WORLDS[self.setting.world].human(self.number, lambda: self.on.decode(self.uncached()))

    def places(self, kind: str) -> torch.Tensor:
        """A mask for LIVE evaluations, see `regions.KINDS`."""
        return places(kind, self.setting.world, self.number, self.mask, lambda: self.on.decode(self.uncached()))

    def _live_shares(self, row: Row, mask: torch.Tensor) -> tuple[float, float]:
        """c here and on 14B, for as large a part of the video."""
        grid, probe = Grid.from_latent(LATENT), row.config.probes
        tokens, video = grid.tokens + grid.height * grid.width, live_tokens(mask, grid, row.config.live_reach).sum().item()
        here = (video + tokens - grid.tokens) / tokens
        return self.cost.live_share(here, probe), live_share_14b(video / grid.tokens, probe)

    @property
    def cost(self) -> CostModel:
        grid = Grid.from_latent(LATENT)
        return find(self.on.talker.dit).cost(self.on.talker.dit, grid, grid.tokens + grid.height * grid.width)

    @torch.inference_mode()
    def attached(self, config: Config | None = None, plan: Plan | None = None, mask: torch.Tensor | None = None):
        """(latents, report) of a run with SyncCache; with a plan the report's settings are the plan's."""
        dit, sampler, grid = self.on.talker.dit, self.setting.sampler, Grid.from_latent(LATENT)
        sigmas, cfg = self.setting.sigmas, self.setting.guidance
        if plan is not None and plan.plain:
            sigmas = [*(sigmas[step] for step in fewer(plan, sigmas)[0]), sigmas[-1]]
        kind, evaluated = sampler_of(sampler, sigmas), evaluated_at(sampler, sigmas)
        with attach(dit, config or Config(), evaluated, grid, mask, plan=plan, sampler=kind, cfg=cfg) as session:
            latents = integrate(sampler, self.on.noise(), sigmas, lambda x, sigma: self.on.guided(x, sigma, session))
        return latents, session.report

    def _synccache(self, row: Row) -> tuple[torch.Tensor, dict[str, float]]:
        mask = self.places(row.live) if row.live else self.mask if row.masked else None
        latents, report = self.attached(row.config, row.plan, mask)
        used = report.settings
        shares = (cost.share(report.level, report.groups, used["merge"], used["probe"]) for cost in (self.cost, WAN_14B))
        reused = report.reused - report.lived
        lived = (report.lived * c for c in self._live_shares(row, mask)) if report.lived else (0.0, 0.0)
        spent = (report.computed + reused * share + more for share, more in zip(shares, lived))
        return latents, costs(report.computed, *spent)


def costs(computed: int, here: float, there: float) -> dict[str, float]:
    return {"computed_steps": computed, "cost_full_steps": here, "cost_full_steps_14b": there}


FLOOR_CONTEXTS = {
    "math": lambda: sdpa_kernel(SDPBackend.MATH),
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
}
