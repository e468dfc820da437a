"""SyncCache, the method: cached inter-block residuals with audio refreshed at every step. Knows nothing of ComfyUI."""

from .adapters import Adapter, find, register, supported
from .attach import attach
from .cost import CostModel
from .errors import BadConfig, BadMask, StateError, SyncCacheError, UnsupportedModel
from .grid import Grid, token_weights
from .layout import Layout
from .policy import Config, decide
from .session import Session
from .telemetry import RunReport

__version__ = "0.1.0"

__all__ = [
    "Adapter", "BadConfig", "BadMask", "Config", "CostModel", "Grid", "Layout", "RunReport", "Session", "StateError",
    "SyncCacheError", "UnsupportedModel", "attach", "decide", "find", "register", "supported", "token_weights",
]
