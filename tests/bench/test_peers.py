"""bench.peers: inputs by default, the MODEL line, what a row says; and, with a ComfyUI, a pack of both APIs for real."""

from types import SimpleNamespace

import pytest
import torch

from bench import peers
from bench.harness import on_all_cores, shown
from bench.settings import Setting

PACK = '''
from comfy_api.latest import io


class Skips:
    """Every other step's output again; the MODEL is its second output."""

    RETURN_TYPES, FUNCTION = ("STRING", "MODEL"), "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "every": ("INT", {"default": 2})}, "optional": {"other": ("MASK",)}}

    def patch(self, model, every):
        model, kept, calls = model.clone(), [], [0]

        def wrapper(run, given):
            if calls[0] % every == 0:
                kept[:] = [run(given["input"], given["timestep"], **given["c"])]
            calls[0] += 1
            return kept[0]

        model.set_model_unet_function_wrapper(wrapper)
        return "said", model


class Deaf:
    RETURN_TYPES, FUNCTION = ("MODEL",), "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model):
        def wrapper(run, given):
            return run(given["input"], given["timestep"], **{k: v for k, v in given["c"].items() if "audio" not in k})

        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return (model,)


class Raises(Deaf):
    def patch(self, model):
        print("a pack may print")
        raise KeyError(__file__)


class Nothing(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Model.Input("model"), io.Float.Input("strength", default=1.0)]
        return io.Schema(node_id="Nothing", inputs=inputs, outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, strength):
        assert strength == 1.0
        return io.NodeOutput(model)


NODE_CLASS_MAPPINGS = {"Skips": Skips, "Deaf": Deaf, "Raises": Raises, "Nothing": Nothing}
'''


class Node:
    RETURN_TYPES, FUNCTION = ("LATENT", "MODEL"), "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "m": ("MODEL",), "mode": (["fast", "slow"],), "kind": ("COMBO", {"options": ["a", "b"], "default": "b"}),
                "steps": ("INT", {"default": 4, "min": 1}), "name": ("STRING", {}),
            },
            "optional": {"on": ("BOOLEAN", {"default": True}), "swap": ("SWAPARGS",)},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }  # fmt: skip


class Needy(Node):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"m": ("MODEL",), "clip": ("CLIP",)}}


class NoModel(Node):
    RETURN_TYPES = ("LATENT",)


def comfy(**made):
    nodes = {"Node": Node, "Needy": Needy, "NoModel": NoModel}
    return SimpleNamespace(nodes=nodes, call=lambda name, /, **inputs: made.setdefault(name, ("latent", inputs)))


def test_what_is_not_given_keeps_its_default():
    found = peers.inputs_of(Node, {"steps": 9}, "the model")
    wanted = {"m": "the model", "mode": "fast", "kind": "b", "steps": 9, "name": "", "on": True, "unique_id": None}
    assert found == wanted


def test_the_first_model_goes_on_whatever_its_index():
    assert peers.through(comfy(), peers.Way("Node"), "in")["m"] == "in"
    assert peers.through(comfy(Node={"ui": {}, "result": (0, "out")}), peers.Way("Node"), "in") == "out"


@pytest.mark.parametrize(("way", "why"), [
    (peers.Way("Other"), "no such node"), (peers.Way("NoModel"), "gives no MODEL"), (peers.Way("Needy"), "needs clip"),
    (peers.Way("Node", {"stepz": 1}), "no input stepz; it has m, mode"),
])  # fmt: skip
def test_a_node_that_does_not_fit_says_why(way, why):
    with pytest.raises(peers.Unusable, match=why):
        peers.through(comfy(), way, "in")


def test_each_branch_of_a_batch_is_counted_for_itself():
    dit = torch.nn.Module()
    dit.blocks, dit.audio_injector = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(2)]), torch.nn.Linear(3, 3)
    calls = peers.count_calls(dit)
    dit.blocks[0](torch.zeros(2, 3))
    dit.blocks[1](input=torch.zeros(1, 3))
    assert calls == {"block_calls": 3} and calls["audio_calls"] == 0


def test_inputs_belong_to_the_node_before_them(tmp_path):
    given = ["--node", "A", "--node", "B", "--inputs", '{"steps": 3}', "--quick"]
    options = peers.options_of([str(tmp_path), *given])
    assert options.ways == [peers.Way("A"), peers.Way("B", {"steps": 3})] and options.clips == peers.FEW
    assert (options.world, options.setting) == ("tiny", "40-cfg2-euler")
    wild = peers.options_of([str(tmp_path), "--node", "A", "--world", "wild"])
    assert (wild.world, wild.setting) == ("wild", "20-cfg6-uni_pc")
    for bad in (["--inputs", "{}", "--node", "A"], ["--node", "A", "--inputs", "[1]"], ["--node", "A", "--inputs", "{"], []):
        with pytest.raises(SystemExit):
            peers.options_of([str(tmp_path), *bad])
    with pytest.raises(SystemExit):
        peers.options_of([str(tmp_path / "none"), "--node", "A"])


def test_a_row_counts_the_clips_that_gave_a_video():
    one = {"block_calls": 0.25, "audio_calls": 0.0, **dict.fromkeys(peers.FIGURES, 30.0), "note": peers.NO_AUDIO}
    row = peers.line("pack: Node", {"steps": 3}, [one, one | {"whole_db": 32.0}, {"note": "KeyError: 'x'"}])
    assert row["clips"] == 2 and row["block_calls"] == 0.25 and row["whole_db"] == (31.0, 30.0, 32.0)
    assert row["note"] == f"{peers.NO_AUDIO} (2 of 3 clips); KeyError: 'x' (1 of 3 clips)"
    assert shown(row["whole_db"]) == "31 (30 to 32)" and [*row][-1] == "note" and row["inputs"] == '{"steps": 3}'
    none = peers.line("pack: Node", {}, [{"note": "does not import"}])
    assert none["clips"] == 0 and none["note"] == "does not import" and none["whole_db"] is None


def test_notes_name_no_folder_of_this_machine(tmp_path):
    said = peers.brief(f"\ncannot import x from {tmp_path}/nodes.py\nmore", tmp_path)
    assert said == f"cannot import x from {tmp_path.name}/nodes.py"


@pytest.mark.parametrize(("note", "check", "status"), [("", True, 0), ("raised", False, 0), ("raised", True, 1)])
def test_exit_status(monkeypatch, tmp_path, capsys, note, check, status):
    made = {"block_calls": 1.0, "audio_calls": 1.0, **dict.fromkeys(peers.FIGURES, 1.0), "note": ""}
    films = [made, {"note": note} if note else made]
    monkeypatch.setattr(peers, "on_all_cores", lambda *_, **__: [films])
    monkeypatch.setattr(peers, "find_host", lambda: tmp_path)
    monkeypatch.setattr(peers, "host_version", lambda _: "1.2.3")
    file = tmp_path / "rows.json"
    assert peers.main([str(tmp_path), "--node", "A", "--clips", "1", "--json", str(file), *["--check"] * check]) == status
    assert note in capsys.readouterr().out and "1.2.3" in file.read_text()


def test_without_comfyui_nothing_is_tried(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "find_host", lambda: None)
    assert peers.main([str(tmp_path), "--node", "A"]) == 1 and peers.NO_HOST in capsys.readouterr().out


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """{node: row} of one clip in four steps: the uncached one as "", a pack, our node, and a pack that does not import."""
    folder, broken = tmp_path_factory.mktemp("a_pack"), tmp_path_factory.mktemp("broken")
    (folder / "__init__.py").write_text(PACK)
    (broken / "__init__.py").write_text("import no_such_package")
    ways = [peers.Way(name) for name in ("Skips", "Deaf", "Raises", "Nothing")]
    ways.append(peers.Way("SyncCache", {"reuse": "residuals"}))
    jobs = [(Setting(steps=4), 0, folder, ways), (Setting(steps=4), 0, broken, ways[:1])]
    whole, failed = (row for job in jobs for row in on_all_cores(peers.film, [job], "test", fresh=True))
    return dict(zip(["", *(way.node for way in ways)], whole)) | {"broken": failed[1]}


@pytest.mark.host
@pytest.mark.slow
def test_nodes_of_both_apis_run_in_the_model_line(filmed):
    skips, nothing = filmed["Skips"], filmed["Nothing"]
    assert (skips["block_calls"], skips["audio_calls"], skips["note"]) == (0.5, 0.5, "") and skips["whole_db"] < 60
    assert nothing["note"] == peers.UNCHANGED and nothing["block_calls"] == 1 and nothing["whole_db"] == 100
    assert nothing["mouth_correlation"] == filmed[""]["mouth_correlation"]
    assert filmed["SyncCache"]["audio_calls"] == 1 and filmed["SyncCache"]["note"] in ("", peers.UNCHANGED)


@pytest.mark.host
@pytest.mark.slow
def test_dropped_audio_and_errors_are_told_and_the_rest_goes_on(filmed):
    assert filmed["Deaf"]["note"] == peers.NO_AUDIO and filmed["Deaf"]["audio_calls"] == 0
    assert filmed["Raises"]["note"].startswith("KeyError: 'a_pack") and set(filmed["Raises"]) == {"note"}
    assert filmed["broken"] == {"note": "does not import: No module named 'no_such_package'"}
