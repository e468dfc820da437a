"""What the avatar is told: sound in windows, faces, text with the picture behind it; and every refusal of a node."""

from types import SimpleNamespace

import pytest
import torch

from tests.host.conftest import StubVae
from tests.host.test_avatar import SIZE, folders, kit, random_whisper  # noqa: F401
from tests.host.test_avatar_model import save

pytestmark = pytest.mark.host


def output(frames=1500, layers=5, width=384, seconds=30.0):
    """An AUDIO_ENCODER_OUTPUT whose numbers say where they are from: frame + layer / 10."""
    states = [(torch.arange(frames).float() + layer / 10)[None, :, None].expand(1, frames, width) for layer in range(layers)]
    return {"encoded_audio_all_layers": tuple(states), "audio_samples": round(16000 * seconds)}


@pytest.mark.parametrize(("fps", "stride"), [(25.0, 2), (12.5, 4)])
def test_windows_of_ten_around_each_video_frame(rooms, fps, stride):
    found = rooms["sound"].heard(output(), 9, fps, "it")
    assert found.shape == (3, 4, 10 * 5 * 384)
    windows = found.unflatten(-1, (10, 5, 384))
    assert torch.equal(windows[0, 0], windows[0, 3]), "the first latent frame is one video frame"
    for frame, (latent, part) in {0: (0, 3), 1: (1, 0), 4: (1, 3), 8: (2, 3)}.items():
        for place in range(10):
            at = frame * stride - 4 + place
            expected = [at + layer / 10 for layer in range(5)] if at >= 0 else [0.0] * 5
            assert windows[latent, part, place, :, 0].tolist() == pytest.approx(expected)


def test_what_lies_behind_the_sound_is_silence(rooms):
    found = rooms["sound"].heard(output(frames=18, seconds=0.36), 9, 25.0, "it").unflatten(-1, (10, 5, 384))
    assert found[2, 3, :, 0, 0].tolist() == [12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 0.0, 0.0, 0.0, 0.0]


def test_a_box_three_times_the_face(rooms):
    mask = torch.zeros(1, 40, 80)
    mask[0, 18:22, 60:70] = 1
    box = rooms["face"].face_boxes({"it": mask}, 80, 160, 3.0)[
        0
    ]  # twice as large: the face is rows 36..44, columns 120..140
    rows, columns = box.nonzero().unbind(1)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (28, 52, 100, 160)
    assert set(box.unique().tolist()) == {0.0, 1.0}


def test_the_mask_is_cropped_as_the_portrait(rooms):
    """A wide portrait in a square video keeps its middle: columns 20 to 60 of 80."""
    mask = torch.zeros(1, 40, 80)
    mask[0, 10:14, 22:26] = 1
    box = rooms["face"].face_boxes({"it": mask}, 40, 40, 1.0)[0]
    assert box.nonzero().amin(dim=0).tolist() == [10, 2] and box.sum() == 16
    mask[0, 10:14, 22:26], mask[0, 10:14, 70:74] = 0, 1
    with pytest.raises(rooms["model"].BadAvatar, match="it is outside of what width and height keep"):
        rooms["face"].face_boxes({"it": mask}, 40, 40, 1.0)


def test_where_boxes_meet_the_nearer_face_wins(rooms):
    masks = {"one": torch.zeros(16, 64), "two": torch.zeros(16, 64)}
    masks["one"][6:10, 10:20] = masks["two"][6:10, 30:40] = 1
    one, two = rooms["face"].face_boxes(masks, 16, 64, 5.0)
    assert (one * two).max() == 0
    assert one[8].nonzero().flatten().tolist() == list(range(0, 25)) and two[8].nonzero().flatten().tolist() == list(
        range(25, 60)
    )


class StubClip:
    """ComfyUI's CLIP as far as the node asks: every word is a token, a picture is three."""

    tokenizer = SimpleNamespace(llama_template="<|s|>{}<|eot|>")

    def __init__(self):
        self.llama = SimpleNamespace(encode_token_weights=self._llama)
        self.clip_l = SimpleNamespace(encode_token_weights=lambda tokens: (None, torch.ones(1, 768)))
        self.cond_stage_model = SimpleNamespace(
            llama=self.llama, clip_l=self.clip_l, reset_clip_options=lambda: None, set_clip_options=lambda options: None
        )
        self.patcher = SimpleNamespace(load_device="cpu")

    def tokenize(self, prompt, llama_template, image_embeds):
        assert llama_template == "<|s|>{}<|eot|>\nThe person looks like<image>"
        picture = {"type": "embedding", "data": image_embeds[0], "original_type": "image"}
        tokens = [128000, 128006, 9125, 128007, 271, 5, 128009, 128006, 882, 128007, 271, 11, 12, 128009, 198, 21, picture]
        return {"llama": [[(token, 1.0) for token in tokens]], "l": [[(1, 1.0)]]}

    def load_model(self, tokens):
        self.loaded = True

    def add_hooks_to_dict(self, told):
        told["hooks"] = None

    def _llama(self, tokens):
        states = [[float(token)] if isinstance(token, int) else [-1.0] * 3 for token, _ in tokens[0]]
        states = torch.tensor([number for token in states for number in token])[None, :, None].expand(1, -1, 4)
        return states, None, {"attention_mask": torch.ones(states.shape[:2])}


def test_the_picture_behind_the_end_of_turn_is_kept(comfy):
    clip, vision = StubClip(), SimpleNamespace(mm_projected=torch.ones(1, 3, 4))
    ((hidden, told),) = comfy.ids["SyncCacheAvatarTextEncode"].execute(clip, vision, "a man").args[0]
    assert hidden[0, :, 0].tolist() == [11.0, 12.0, 128009.0, 198.0, 21.0, -1.0, -1.0, -1.0] and clip.loaded
    assert told["pooled_output"].shape == (1, 768) and "attention_mask" not in told


def test_other_text_encoders_and_pictures_are_named(comfy, rooms):
    node, clip = comfy.ids["SyncCacheAvatarTextEncode"], StubClip()
    with pytest.raises(rooms["model"].BadAvatar, match="clip_vision_output.*llava_llama3_vision"):
        node.execute(clip, SimpleNamespace(last_hidden_state=torch.ones(1)), "a man")
    clip.tokenizer = SimpleNamespace()
    with pytest.raises(rooms["model"].BadAvatar, match="clip is another text encoder.*hunyuan_video"):
        node.execute(clip, SimpleNamespace(mm_projected=torch.ones(1, 3, 4)), "a man")
    with pytest.raises(rooms["model"].BadAvatar, match="no user's turn"):
        rooms["text"].start_of_text([1, 2, 3, 4])


class WanVae(StubVae):
    class WanVAE:
        pass

    first_stage_model = WanVAE()


class WideVae(StubVae):
    def encode(self, pixels):
        return super().encode(pixels).repeat(1, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vae": WanVae()}, "vae is a WanVAE.*HunyuanVideo VAE"),
        ({"vae": WideVae()}, r"latent \(1, 32, 3, 8, 8\).*needs \(1, 16, 3, 8, 8\)"),
        ({"face_mask": torch.zeros(1, SIZE, SIZE)}, "face_mask is empty: no face"),
        ({"face_mask_2": torch.ones(1, SIZE, SIZE)}, "audio_encoder_output_2 is not connected"),
        ({"audio_encoder_output_2": output()}, "face_mask_2 is not connected"),
        ({"audio_encoder_output_2": output(), "face_mask_2": torch.zeros(1, 8, 8)}, "face_mask_2 is empty"),
        ({"sound": output(seconds=0.2)}, r"audio_encoder_output: 0.20 s of sound, length 9 at 25 fps needs 0.36 s"),
        ({"sound": output(), "length": 801}, r"30.00 s of sound, length 801 at 25 fps needs 32.04 s"),
        ({"sound": output(layers=25, width=1024)}, "25 layers of 1024 numbers.*5 of 384"),
        ({"sound": {"encoded_audio_all_layers": None}}, "0 layers of 0 numbers"),
        ({"width": 70}, "width is 70.*multiple of 16"),
        ({"length": 10}, r"length is 10.*4 n \+ 1"),
        ({"fps": "30"}, "fps is '30'.*25, 12.5"),
    ],
)
def test_what_the_conditioning_refuses(kit, given, said):  # noqa: F811
    with pytest.raises(kit.rooms["model"].BadAvatar, match=said):
        kit.condition(**given)


def test_a_conditioning_from_elsewhere_is_named(kit):  # noqa: F811
    model, told = kit.load(), kit.condition()
    bare = [[text, {"pooled_output": given["pooled_output"]}] for text, given in told[0]]
    with pytest.raises(kit.rooms["model"].BadAvatar, match="no avatar_ref, avatar_audio.*SyncCache Avatar Conditioning"):
        kit.guide(model, (bare, told[1]))
    with pytest.raises(kit.rooms["model"].BadAvatar, match="no avatar_ref"):
        kit.comfy.nodes.common_ksampler(model, 1, 2, 5.0, "euler", "simple", bare, bare, told[2])
    with pytest.raises(kit.rooms["model"].BadAvatar, match="frames 3, the sampler was given 5"):
        kit.sample(kit.guide(model, told), {"samples": torch.zeros(1, 16, 5, 8, 8)})
    with pytest.raises(kit.rooms["model"].BadAvatar, match=r"height and width \(8, 8\), the sampler was given \(8, 4\)"):
        kit.sample(kit.guide(model, told), {"samples": torch.zeros(1, 16, 3, 8, 4)})


def test_other_audio_encoders_are_named(kit, tmp_path):  # noqa: F811
    save({"encoder.layer_norm.bias": torch.zeros(1024)}, tmp_path / "wav2vec.safetensors")
    with pytest.raises(kit.rooms["model"].BadAvatar, match="wav2vec.safetensors: no whisper encoder"):
        kit.rooms["sound"].load_whisper(tmp_path / "wav2vec.safetensors")
    lacking = {name: value for name, value in random_whisper().items() if not name.endswith("layers.2.fc1.bias")}
    save(lacking, tmp_path / "part.safetensors")
    with pytest.raises(kit.rooms["model"].BadAvatar, match="part.safetensors: encoder.layers.2.fc1.bias"):
        kit.rooms["sound"].load_whisper(tmp_path / "part.safetensors")


def test_the_loader_offers_models_and_no_maps(kit):  # noqa: F811
    import folder_paths

    save({"x": torch.zeros(1)}, kit.folders.diffusion_models / "avatar_map.pt")
    folder_paths.filename_list_cache.clear()
    offered = kit.ids["SyncCacheAvatarLoader"].define_schema().inputs[0].options
    assert "avatar.pt" in offered and "avatar_map.pt" not in offered
    with pytest.raises(kit.rooms["model"].BadAvatar, match="weight_dtype is 'int3'"):
        kit.load(weight_dtype="int3")
    assert kit.load(weight_dtype="fp8_e4m3fn").model.get_dtype() == torch.float8_e4m3fn
