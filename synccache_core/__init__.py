"""SyncCache, the method: cached inter-block residuals with audio refreshed at every step. Knows nothing of ComfyUI."""

from .adapters import Adapter, find, outputs_only, register, serve, supported
from .attach import attach, calibrate
from .calibration import CalibrationSession
from .cost import CostModel
from .errors import BadConfig, BadMask, StateError, SyncCacheError, UnknownView, UnsupportedModel
from .grid import Grid, token_weights
from .layout import Layout
from .noise import Noise
from .plan import Plan
from .planned import describe, fewer, fitted_config, planned_config
from .policy import Config, decide
from .recording import Recording
from .samplers import Sampler
from .session import Session
from .telemetry import RunReport
from .view import Pass, View

__version__ = "0.1.0"

__all__ = [
    "Adapter", "BadConfig", "BadMask", "CalibrationSession", "Config", "CostModel", "Grid", "Layout", "Noise", "Pass",
    "Plan", "Recording", "RunReport", "Sampler", "Session", "StateError", "SyncCacheError", "UnknownView",
    "UnsupportedModel", "View", "attach", "calibrate", "decide", "describe", "fewer", "find", "fitted_config",
    "outputs_only", "planned_config", "register", "serve", "supported", "token_weights",
]
