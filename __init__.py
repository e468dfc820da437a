"""ComfyUI-SyncCache: talking portraits 3-5x faster, lips in sync. The nodes live in nodes/, the method in synccache_core/."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI; imported here, so that this file can be imported without a host."""
    from .nodes import SyncCacheExtension

    return SyncCacheExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
