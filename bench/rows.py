"""One way to sample a clip at a setting, and how it is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from zlib import crc32

import torch

from demo.sampling import evaluated_at, integrate
from demo.standalone import LATENT, Standalone
from demo.table import WAN_14B, live_share_14b
from demo.worlds import WORLDS
from synccache_core import Config, Grid, attach, fewer
from synccache_core.model.adapters import Adapter, find
from synccache_core.model.cost import CostModel
from synccache_core.planning.plan import Plan
from synccache_core.reuse.live import live_tokens

from .hooks import sample_with, sampler_of
from .regions import places
from .rivals import Make, make
from .settings import Setting

CREATED = "2026-01-01"  # plans made on another day are the same plans


@dataclass(frozen=True)
class Row:
    """One way. group: what kind of way it is, such as ours, plain or rival. count: computed steps, or cost, that it was
    made for.

    One of sigmas (fewer steps), cache, plan, config and threshold (of a cache of ComfyUI) says what it does; sampler: of
    `sigmas`. masked: with the true mask of the human. live: where else LIVE evaluations compute, see `bench.regions`.
    """

    name: str
    group: str
    count: int
    sigmas: tuple[float, ...] | None = None
    sampler: str = "euler"
    cache: Make | None = None
    plan: Plan | None = None
    config: Config | None = None
    masked: bool = False
    threshold: float | None = None
    live: str = ""

    @property
    def recipe(self) -> tuple:
        """What it does, whatever it is called and promises: plans that were asked for in other ways may come to the same.

        Sigmas to nine digits: what was measured on one machine is found again on another.
        """
        plan, sigmas = self.plan, self.sigmas and tuple(float(f"{sigma:.9g}") for sigma in self.sigmas)
        if plan:
            plan = (plan.schedule, plan.level, plan.order, plan.correction, plan.groups, plan.merge, plan.probe, plan.kind,
                    plan.backtest)  # fmt: skip
        masked = (self.live, self.config.live, self.config.live_reach) if self.live else self.masked
        return plan, self.config, masked, sigmas, self.sampler, self.cache, self.threshold

    @property
    def key(self) -> str:
        """The same for the same way: what was measured is found again by it."""
        return f"{self.name} | {self.count} | {crc32(repr(self.recipe).encode()):08x}"


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
        grid, probe = Grid.from_latent(LATENT), row.config.runs_probe
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
        kind, evaluated, config = sampler_of(sampler, sigmas), evaluated_at(sampler, sigmas), config or Config()
        adapter = as_on_14b(dit) if config.live is True else None
        with attach(dit, config, evaluated, grid, mask, adapter, plan, kind, cfg) as session:
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


class AsOn14B(CostModel):
    """Prices of Wan2.2-S2V-14B."""

    def live_share(self, rows: float, probe: bool) -> float:
        """rows: share of all rows here that are live, those of the reference among them."""
        grid = Grid.from_latent(LATENT)
        return live_share_14b(1 - (1 - rows) * (grid.tokens + grid.height * grid.width) / grid.tokens, probe)


def as_on_14b(dit: torch.nn.Module) -> Adapter:
    """The adapter of a model whose LIVE evaluations are chosen by what they would cost there."""
    prices = AsOn14B(**{field.name: getattr(WAN_14B, field.name) for field in fields(WAN_14B)})
    return replace(find(dit), cost=lambda *_: prices)


def costs(computed: int, here: float, there: float) -> dict[str, float]:
    return {"computed_steps": computed, "cost_full_steps": here, "cost_full_steps_14b": there}
