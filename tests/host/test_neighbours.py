"""Other extensions on the same model, unsupported models, failures at the boundary, and a host without a server."""

import json
from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.host


def test_two_in_a_chain_are_refused(stage):
    model, _ = stage.node()
    with pytest.raises(stage.comfy.core.StateError, match="already applied"):
        stage.node(model=model)


def test_easycache_is_refused_by_name_before_and_after(stage):
    node = stage.comfy.easycache.EasyCacheNode
    cached = node.execute(stage.model, 0.2, 0.15, 0.95, False).args[0]
    with pytest.raises(stage.comfy.core.StateError, match="easycache"):
        stage.node(model=cached)
    model, _ = stage.node()
    both = node.execute(model, 0.2, 0.15, 0.95, False).args[0]
    with pytest.raises(stage.comfy.core.StateError, match="easycache"):
        stage.sample(both)


def test_a_replacement_of_another_extension_runs_in_the_blocks_place(stage):
    def halved(args, extra):
        out = extra["original_block"](args)
        return {"img": (args["img"] + out["img"]) / 2}

    theirs = stage.model.clone()
    theirs.set_model_patch_replace(halved, "dit", "double_block", 3)
    plain = stage.sample(theirs)
    assert torch.equal(stage.sample(stage.attach(theirs, schedule=(True,) * 12)[0]), plain)
    model, run, _ = stage.attach(theirs, schedule=(True, True, False) * 4)
    assert not torch.equal(stage.sample(model), plain) and run.reports[0].reused > 0


def test_passes_that_others_alter_are_left_alone(stage):
    """Skip-layer guidance evaluates the conditioning once more per step with one of our hooks replaced."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    def guided(model):
        settings = {"double_layers": "2,4", "single_layers": "", "scale": 2.0, "start_percent": 0.0, "end_percent": 1.0}
        return SkipLayerGuidanceDiT.execute(model, **settings).args[0]

    plain = stage.sample(guided(stage.model))
    computed = stage.sample(guided(stage.attach(schedule=(True,) * 12)[0]))
    assert torch.equal(computed, plain)
    model, run, _ = stage.attach(schedule=(True, True, False) * 4)
    out = stage.sample(guided(model))
    assert run.reports[0].reused == 3 and run.reports[0].branches == 2
    assert ((out - plain).norm() / plain.norm()) < 0.3
    assert any("another extension" in note for note in run.reports[0].notes)


def test_a_model_that_cannot_be_served_as_asked_is_named_or_passed_through(stage):
    class SomeDiT(torch.nn.Module):
        pass

    other = stage.model.clone()
    other.add_object_patch("diffusion_model", SomeDiT())
    with pytest.raises(stage.comfy.core.UnsupportedModel, match="reuse is 'residuals'.*Wan2.2-S2V.*SomeDiT"):
        stage.node(model=other)
    model, run = stage.node(model=other, if_unsupported="pass through")
    assert model is other and "SomeDiT" in run.of(None).summary()
    assert stage.node(model=other, reuse="auto")[0] is not other  # its whole results can be reused


def test_a_model_that_becomes_unknown_behind_the_node_is_named(stage):
    class SomeDiT(torch.nn.Module):
        pass

    model, _ = stage.node()
    model.add_object_patch("diffusion_model", SomeDiT())
    with pytest.raises(stage.comfy.core.UnsupportedModel, match="reuse is 'residuals'.*SomeDiT"):
        stage.sample(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_speedup", float("nan")), ("target_speedup", 0.5), ("cache_ratio", 2.0), ("forecast_order", 7),
        ("warmup", -5), ("memory_budget_gb", -1.0), ("memory_budget_gb", float("inf")), ("preset", "Ludicrous"),
        ("human_weight", "much"),
    ],
)
def test_values_that_bypass_the_widgets_are_named(stage, field, value):
    with pytest.raises(stage.comfy.core.BadConfig, match="memory_budget|" + field):
        stage.node(**{field: value})


@pytest.mark.parametrize("field", ["cache_device", "if_unsupported", "live", "reuse"])
def test_words_that_no_widget_has_are_named(stage, field):
    with pytest.raises(stage.comfy.core.SyncCacheError, match=f"{field} must be one of .*, got 'gpu0'"):
        stage.node(**{field: "gpu0"})


def test_a_failing_cleanup_does_not_hide_the_models_exception(stage, monkeypatch, caplog):
    model, _ = stage.node()

    class Boom(Exception):
        pass

    def boom(*_args, **_kwargs):
        raise Boom("from the model")

    def bad_close(self):
        raise RuntimeError("from our cleanup")

    monkeypatch.setattr(stage.comfy.core.Session, "close", bad_close)
    model.add_wrapper_with_key("diffusion_model", "boom", boom)
    with pytest.raises(Boom, match="from the model"):
        stage.sample(model)
    assert sum("cleaning up failed" in record.message for record in caplog.records) == 1


def test_our_own_bookkeeping_may_fail_without_harm(stage, monkeypatch):
    monkeypatch.setattr(stage.comfy.core.run.evaluation.Evaluation, "mode", lambda *_: 1 / 0)
    model, run = stage.node()
    assert torch.equal(stage.sample(model), stage.sample(stage.model))
    assert any("ZeroDivisionError" in note for note in run.reports[0].notes)


def test_a_mask_weighs_the_probe_or_is_refused_with_both_numbers(stage):
    half = torch.zeros(1, 40, 30)
    half[:, :20] = 1.0
    changes = []
    for mask in (None, half, half.expand(9, -1, -1)):  # 9 video frames are 3 latent frames
        model, run = stage.node(human_mask=mask)
        stage.sample(model)
        changes.append([step.change for step in run.reports[0].steps])
    assert changes[1] == changes[2] != changes[0]
    model, _ = stage.node(human_mask=half.expand(5, -1, -1))
    with pytest.raises(stage.comfy.core.BadMask, match="5 frames.*9 frames"):
        stage.sample(model)


@pytest.mark.parametrize("node", ["SyncCache", "SyncCacheCalibrate"])
def test_a_mask_of_a_strange_kind_is_refused_before_anything_is_sampled(stage, node):
    def made(mask):
        more = {"preset": "Custom", "target_speedup": 2.0, "cache_ratio": 1.0} if node == "SyncCache" else {}
        return stage.execute(stage.comfy.ids[node], model=stage.model, human_mask=mask, **more)

    half = torch.zeros(9, 1, 40, 30)
    half[:, :, :20] = 1.0
    for mask in (half, half.numpy()):
        stage.sample(made(mask)[0], steps=2)
    for mask, told in ((torch.zeros(1, 3, 40, 30), "human_mask must be .* shape"), ("person", "human_mask must be .* str")):
        with pytest.raises(stage.comfy.core.BadMask, match=told):
            made(mask)


def test_a_model_split_over_gpus_is_refused(stage):
    model, _ = stage.node()
    model.set_additional_models("multigpu", [stage.model.clone()])
    with pytest.raises(stage.comfy.core.StateError, match="several GPUs"):
        stage.sample(model)


def test_room_for_the_residuals_is_asked_of_the_host(stage):
    core, host = stage.comfy.core, stage.comfy.host
    run = host.CacheRun(None, None, core.Config(cache_ratio=0.5), "gpu")
    shape, asked = [1, 16, 3, 4, 4], []
    run.prepare_sampling(lambda model, noise_shape: asked.append(noise_shape), stage.model, shape)
    need = stage.model.model.memory_required
    # K = 2 residuals x 2 anchors x 2 branches x 12 tokens x 48 channels x float32
    assert need(asked[0]) - need(shape) == pytest.approx(2 * 2 * 2 * 12 * 48 * 4, rel=1e-3)
    host.CacheRun(None, None, core.Config(), "cpu").prepare_sampling(
        lambda model, noise_shape: asked.append(noise_shape), stage.model, shape
    )
    assert asked[1] == shape


def test_room_for_outputs_beside_residuals_is_asked_for_above_the_budget(stage):
    core, shape = stage.comfy.core, [1, 16, 3, 4, 4]
    one, settings = 2 * 12 * 48 * 4, {"level": "residual", "correction": True, "forecast_order": 0}
    need = {
        budget: stage.comfy.host.residual_bytes(
            stage.model, shape, core.Config(**settings, memory_budget=budget), core.Sampler()
        )
        for budget in (None, 2 * one, 2 * one + 7)
    }
    outputs = need[2 * one] - 2 * one
    assert outputs == 2 * 16 * 3 * 4 * 4 * 4  # an anchor and the sum of the gap, in float32
    assert need[2 * one + 7] == need[2 * one] + 7 and need[None] == 3 * one + outputs


def test_a_report_without_a_run_says_so(stage):
    _, run = stage.node()
    samples = {"samples": torch.zeros(1)}
    out, text, timeline, heat = stage.execute(stage.comfy.ids["SyncCacheReport"], run=run, samples=samples)
    assert out is samples and json.loads(text)["runs"] == []
    assert "this model was not sampled" in run.of(None).summary()
    assert all(image.ndim == 4 and image.shape[0] == 1 for image in (timeline, heat))
    out, text, *_ = stage.execute(stage.comfy.ids["SyncCacheReport"], samples=samples)  # the editor drops what is bypassed
    assert out is samples and "bypassed" in json.loads(text)["remark"]


def test_a_report_after_a_run_is_json_and_text(stage, monkeypatch):
    model, run = stage.node()
    stage.sample(model)
    sent = []
    monkeypatch.setattr(stage.comfy.text.NodeText, "__call__", lambda self, lines: sent.append((self.node_id, lines)))
    given = {"run": run, "samples": {"samples": torch.zeros(1)}, "image": torch.rand(2, 40, 30, 3)}
    _, text, timeline, heat = stage.execute(stage.comfy.ids["SyncCacheReport"], **given)
    assert timeline.shape[-1] == heat.shape[-1] == 3 and 0 <= heat.min() and heat.max() <= 1
    report = json.loads(text)["runs"][0]
    assert report["format"] == "synccache-report" and len(report["steps"]) == 12
    assert report["computed"] + report["reused"] == 12
    assert sent[0][0] == "7" and f"{report['computed']} computed, {report['reused']} reused" in "\n".join(sent[0][1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_report_takes_grey_and_transparent_pictures(stage, channels):
    model, run = stage.node()
    grey = torch.rand(2, 40, 30, 1).expand(-1, -1, -1, 3)
    given = {"run": run, "samples": {"samples": stage.sample(model)}}
    maps = [stage.execute(stage.comfy.ids["SyncCacheReport"], **given, image=image)[3]
            for image in (grey, torch.cat([grey, torch.ones(2, 40, 30, 1)], dim=-1)[..., :channels])]
    assert torch.equal(*maps)
    black = torch.full((1, 40, 30, channels), float("nan"))  # of a VAE that went wrong: what ran is reported all the same
    assert stage.execute(stage.comfy.ids["SyncCacheReport"], **given, image=black)[3].isfinite().all()


def test_the_strip_needs_a_server_and_a_node(stage, monkeypatch):
    """Fault 61: scripts, tests and comfy-cli have no server."""
    from server import PromptServer

    sent = []

    class Server:
        client_id = "alice"

        def send_progress_text(self, text, node_id, sid):
            assert sid == self.client_id
            sent.append((text, node_id))

        def send_sync(self, event, data, sid):
            json.dumps(data, allow_nan=False)  # as it goes over the wire
            assert sid == self.client_id
            sent.append((event, data))

    seven, nobody = SimpleNamespace(unique_id="7"), SimpleNamespace(unique_id=None)
    text, strip = stage.comfy.text.NodeText(seven), stage.comfy.text.Strip(seven)
    monkeypatch.setattr(PromptServer, "instance", None, raising=False)
    text(["nobody hears"])
    strip({"text": "nobody sees"})
    monkeypatch.setattr(PromptServer, "instance", Server(), raising=False)
    stage.comfy.text.NodeText(nobody)(["no node"])
    stage.comfy.text.Strip(nobody)({"text": "no node"})
    assert sent == []
    told = {"key": "1 frame", "values": {}}
    text(["heard", stage.comfy.core.compare.findings.counted(1)])
    assert sent == [("heard  \n1 frame", "7"), ("synccache", {"node": "7", "workflow": None, "lines": ["heard", told]})]
    sent.clear()
    model, _ = stage.node()
    first = [data for event, data in sent if event == "synccache" and data["node"] == "7"]
    assert first == sent_events(sent) and first[0]["plan"] is None
    assert first[1]["recognised"] == {"model": "Wan2.2-S2V", "blocks": 7, "refreshes": 4}
    sent.clear()
    stage.sample(model)
    runs = [event["run"] for event in sent_events(sent)]
    assert [len(run["cells"]) for run in runs] == [*range(1, 13), 12]
    assert runs[-1]["ended"] and runs[-1]["finished"] and runs[-1]["computed"] == runs[-1]["cells"].count("c")
    assert runs[-1]["held"] > 3 * runs[-1]["residual_bytes"] * 2 and 0 < runs[-1]["share"] < 1
    sent.clear()
    for client in ("bob", None):  # of a model that the host kept, and of a prompt that nobody watches
        Server.client_id = client
        text(["to whoever runs it now"])
        stage.sample(model)
        assert bool(sent) == (client is not None)
        sent.clear()


def test_events_name_the_workflow_whose_prompt_runs(comfy):
    """Of the host's own queue: nodes of other workflows have the same ids, and the editor may show one of these by now."""
    from execution import PromptQueue

    server = SimpleNamespace(queue_updated=lambda: None, last_prompt_id="before")
    queue = server.prompt_queue = PromptQueue(server)
    assert comfy.text.workflow_of(server) is None
    odd = [{}, {"extra_pnginfo": None}, *({"extra_pnginfo": {"workflow": given}} for given in (None, "x", {}, {"id": 3}))]
    for number, extra in enumerate([{"extra_pnginfo": {"workflow": {"id": "a"}}}, *odd]):
        queue.put((number, f"prompt {number}", {}, extra, [], {}))
        item, key = queue.get()
        assert comfy.text.workflow_of(server) is None  # the one before
        server.last_prompt_id = item[1]
        assert comfy.text.workflow_of(server) == (None if number else "a")
        queue.currently_running.pop(key)


def sent_events(sent):
    return [data for event, data in sent]


def test_runs_in_a_row_leave_no_tensor_behind(stage):
    import gc

    model, _ = stage.node()
    conditioning = stage.conditioning()

    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())  # a dead proxy has no class

    stage.sample(model, conditioning, steps=5)
    before = tensors()
    for _ in range(10):
        stage.sample(model, conditioning, steps=5)
    assert tensors() <= before + 2


def test_an_old_host_is_refused_in_one_sentence(monkeypatch, comfy):
    import asyncio
    import importlib

    import comfyui_version

    package = importlib.import_module(comfy.ids["SyncCache"].__module__.rpartition(".nodes.")[0])
    monkeypatch.setattr(comfyui_version, "__version__", "0.3.64")
    with pytest.raises(RuntimeError, match="0.20.*0.3.64"):
        asyncio.run(package.comfy_entrypoint())


def test_a_first_step_that_guidance_leaves_out_is_not_what_the_next_ones_follow(stage):
    """As CFG-Zero* does: the guided result of the first step is none, and the sampler stands still."""

    def guided(args):
        first = args["timestep"][0] == args["model_options"]["transformer_options"]["sample_sigmas"][0]
        return 0 * args["cond"] if first else args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"])

    theirs, off = stage.model.clone(), []
    theirs.set_model_sampler_cfg_function(guided)
    for model in (stage.model, theirs):
        plain = stage.sample(model, steps=8)
        ours, run, _ = stage.attach(model, schedule=(True, True, False, False) * 2, forecast_order=1, correction=True)
        off.append((stage.sample(ours, steps=8) - plain).norm() / plain.norm())
        assert run.reports[0].reused == 3
    assert off[1] < 1.2 * off[0]


def test_a_node_that_samples_in_parts_does_the_same_before_and_behind(stage):
    """As one does that makes LTX-2's sound softer at some steps: each part is a run of its own."""

    def parted(executor, noise, latent, sampler, sigmas, *args, **kwargs):
        for part in (sigmas[:7], sigmas[6:]):
            latent = 0.9 * executor(noise, latent, sampler, part, *args, **kwargs)
        return latent

    def with_theirs(model):
        model = model.clone()
        model.add_wrapper_with_key("outer_sample", "theirs", parted)
        return model

    before, runs = stage.node(with_theirs(stage.model))
    behind, others = stage.node()
    assert torch.equal(stage.sample(before), stage.sample(with_theirs(behind)))
    for run in (runs, others):
        assert [len(report.steps) for report in run.reports] == [6, 6] and all(one.reused for one in run.reports)
