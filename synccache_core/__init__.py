"""SyncCache, the method: cached inter-block residuals with audio refreshed at every step. Knows nothing of ComfyUI."""

from .attach import attach, calibrate
from .config import Config
from .errors import BadConfig, BadMask, StateError, SyncCacheError, UnknownView, UnsupportedModel
from .model.adapters import Adapter, Bound, find, outputs_only, register, serve, supported
from .model.cost import CostModel
from .model.grid import Grid, token_weights
from .model.layout import Layout
from .model.noise import Noise
from .model.samplers import Sampler
from .model.view import Pass, View
from .planning.plan import Plan
from .planning.planned import describe, fewer
from .planning.recorder import CalibrationSession
from .planning.recording import Recording
from .report.report import RunReport
from .run.session import Session

__version__ = "0.1.0"

__all__ = [
    "Adapter", "BadConfig", "BadMask", "Bound", "CalibrationSession", "Config", "CostModel", "Grid", "Layout", "Noise",
    "Pass", "Plan", "Recording", "RunReport", "Sampler", "Session", "StateError", "SyncCacheError", "UnknownView",
    "UnsupportedModel", "View", "attach", "calibrate", "describe", "fewer", "find",
    "outputs_only", "register", "serve", "supported", "token_weights",
]
