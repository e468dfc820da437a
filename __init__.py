"""ComfyUI-SyncCache: talking portraits 2-4x faster. Nodes are in nodes/, the method in synccache_core/."""

WEB_DIRECTORY = "./web"
OLDEST_HOST = (0, 20)


async def comfy_entrypoint():
    """Called by ComfyUI; what needs the host is imported here, so that this file can be imported without one."""
    from comfyui_version import __version__ as version

    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_HOST:
        raise RuntimeError(f"SyncCache needs ComfyUI 0.20 or newer, this is {version}: please update ComfyUI")
    from .nodes import SyncCacheExtension

    return SyncCacheExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
