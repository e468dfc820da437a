"""What the benches share changes no figure."""

import json

import pytest
import torch

from bench.harness import write
from bench.settings import Setting
from demo import thirdparty
from demo.stage import quicken
from demo.worlds import WORLDS


@pytest.mark.parametrize("world", list(WORLDS))
def test_a_quickened_vae_decodes_the_same(world):
    pytest.importorskip("diffusers")
    vae = thirdparty.load_vae(WORLDS[world].vae)
    latent = torch.randn(1, 16, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = vae.decode(latent).sample
        replaced = [module for module in vae.modules() if "forward" in vars(module)]
        quicken(vae)
        quick = vae.decode(latent).sample
    changed = [module for module in vae.modules() if "forward" in vars(module)]
    assert not replaced and {type(module).__name__ for module in changed} == {"WanCausalConv3d", "WanRMS_norm"}
    assert (quick - plain).abs().max() < 1e-5


def test_settings_of_another_world_are_told_by_their_name():
    assert Setting(20, 6.0, "uni_pc").name == "20-cfg6-uni_pc"
    assert Setting(20, 6.0, "uni_pc", "wild").name == "wild-20-cfg6-uni_pc"


@pytest.mark.parametrize("tables", [{}, {"none": []}, {'a "title"': [{"way": "a", "db": 1.5}, {"way": "b"}], "b": [{}]}])
def test_tables_are_written_a_row_a_line(tmp_path, tables):
    write(tmp_path / "new" / "x.json", tables)
    text = (tmp_path / "new" / "x.json").read_text()
    assert json.loads(text) == tables
    lines = [line.rstrip(",") for line in text.splitlines()]
    assert all(json.dumps(row) in lines for rows in tables.values() for row in rows)
