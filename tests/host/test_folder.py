"""Fault 64: the pack's folder has another name, below a path with a space and letters of other scripts."""

import urllib.request

import pytest

from tests.host.running import launched

pytestmark = [pytest.mark.host, pytest.mark.slow]


def test_a_renamed_folder_in_an_odd_place_is_whole(tmp_path):
    base = tmp_path / "mein ComfyUI \u540d\u524d"
    base.mkdir()
    with launched(base, "my-synccache_main") as server:
        assert server.get("/object_info/SyncCache")["SyncCache"]["python_module"] == "custom_nodes.my-synccache_main"
        scripts = [path for path in server.get("/extensions") if "my-synccache_main" in path]
        assert sorted(scripts) == [f"/extensions/my-synccache_main/js/{name}.js" for name in ("sentences", "synccache")]
        for path in (*scripts, "/extensions/my-synccache_main/docs/SyncCache.md"):
            with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as answer:
                assert answer.status == 200 and len(answer.read()) > 1000
