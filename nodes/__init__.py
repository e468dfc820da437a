"""The ComfyUI side of SyncCache: V3 nodes, thin, over synccache_core."""

from comfy_api.latest import ComfyExtension, io

from .avatar.nodes import (
    SyncCacheAvatarAudioEncoder,
    SyncCacheAvatarConditioning,
    SyncCacheAvatarGuider,
    SyncCacheAvatarLoader,
    SyncCacheAvatarTextEncode,
)
from .cache import SyncCache
from .calibrate import SyncCacheCalibrate
from .compare import SyncCacheCompare
from .mask import SyncCacheHumanMask
from .optimizer import SyncCacheScheduleOptimizer
from .plans import SyncCacheLoadPlan, SyncCacheSavePlan
from .report import SyncCacheReport
from .talker import SyncCacheTinyTalker

NODES = [
    SyncCache, SyncCacheHumanMask, SyncCacheCalibrate, SyncCacheScheduleOptimizer, SyncCacheSavePlan, SyncCacheLoadPlan,
    SyncCacheReport, SyncCacheCompare, SyncCacheTinyTalker, SyncCacheAvatarLoader, SyncCacheAvatarAudioEncoder,
    SyncCacheAvatarTextEncode, SyncCacheAvatarConditioning, SyncCacheAvatarGuider,
]


class SyncCacheExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
