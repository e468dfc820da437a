"""The Tiny Talker's windows of audio features, beside those that ComfyUI's node for S2V makes."""

import pytest
import torch

from demo.features import FRONT_END, host_layers, window
from demo.talker import AUDIO_FRAMES, FRAMES

pytestmark = pytest.mark.host


@pytest.mark.parametrize("count, offset", [(105, 0), (60, 0), (110, 0), (400, 0), (400, 36), (333, 72)])
def test_window_equals_the_host(comfy, count, offset):
    features = torch.rand(count, FRONT_END.audio_dim)
    output = {"encoded_audio_all_layers": host_layers(features)}
    made = comfy.wan.wan_sound_to_video([[None, {}]], [[None, {}]], None, 96, 96, FRAMES, 1, frame_offset=offset,
                                        audio_encoder_output=output)[0]  # fmt: skip
    theirs, ours = made[0][1]["audio_embed"], window(features, AUDIO_FRAMES, offset)
    assert theirs.shape == (1, 25, FRONT_END.audio_dim, AUDIO_FRAMES)
    assert torch.equal(theirs[0, 0], ours.T) and torch.equal(theirs[0, 24], ours.T)
