"""A tiny HunyuanVideo-Avatar of random weights under the official names, and its forward written out once more.

`forward` is from the facts of the paper's model alone: plain torch on the official tensors, no module of ComfyUI's or ours.
"""

import math

import torch
import torch.nn.functional as F

TEXT, POOLED, HEARD, PATCH = 4096, 768, 19200, (1, 2, 2)
AXES, THETA = (16, 56, 56), 256


def shapes(width=256, doubles=4, singles=2, inner=64, hidden=32, text=TEXT) -> dict[str, tuple]:
    """Official name -> shape; the real model is shapes(3072, 20, 40, 1024, 1024)."""
    found = {}

    def linear(name, out, into, bias=True):
        found[f"{name}.weight"] = (out, into)
        if bias:
            found[f"{name}.bias"] = (out,)

    def norm(name, size=width):
        found[f"{name}.weight"] = found[f"{name}.bias"] = (size,)

    for name in ("img_in.proj", "ref_in.proj"):
        found |= {f"{name}.weight": (width, 16, *PATCH), f"{name}.bias": (width,)}
    linear("txt_in.input_embedder", width, text)
    for name, into in (("txt_in.t_embedder.mlp.{}", 256), ("txt_in.c_embedder.linear_{}", text)):
        first, second = (0, 2) if "mlp" in name else (1, 2)
        linear(name.format(first), width, into)
        linear(name.format(second), width, width)
    for block in (f"txt_in.individual_token_refiner.blocks.{i}" for i in range(2)):
        norm(f"{block}.norm1"), norm(f"{block}.norm2")
        linear(f"{block}.self_attn_qkv", 3 * width, width), linear(f"{block}.self_attn_proj", width, width)
        linear(f"{block}.mlp.fc1", 4 * width, width), linear(f"{block}.mlp.fc2", width, 4 * width)
        linear(f"{block}.adaLN_modulation.1", 2 * width, width)
    linear("time_in.mlp.0", width, 256), linear("time_in.mlp.2", width, width)
    linear("vector_in.in_layer", width, POOLED), linear("vector_in.out_layer", width, width)
    for block in (f"double_blocks.{i}.{side}" for i in range(doubles) for side in ("img", "txt")):
        linear(f"{block}_mod.linear", 6 * width, width), linear(f"{block}_attn_qkv", 3 * width, width)
        found |= {f"{block}_attn_{one}_norm.weight": (128,) for one in "qk"}
        linear(f"{block}_attn_proj", width, width)
        linear(f"{block}_mlp.fc1", 4 * width, width), linear(f"{block}_mlp.fc2", width, 4 * width)
    for block in (f"single_blocks.{i}" for i in range(singles)):
        linear(f"{block}.linear1", 7 * width, width), linear(f"{block}.linear2", width, 5 * width)
        found |= {f"{block}.{one}_norm.weight": (128,) for one in "qk"}
        linear(f"{block}.modulation.linear", 3 * width, width)
    linear("final_layer.linear", 64, width), linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return found | extra_shapes(width, doubles, inner, hidden)


def extra_shapes(width, doubles, inner, hidden) -> dict[str, tuple]:
    """What the avatar has beyond HunyuanVideo, but for ref_in."""
    found = {"before_proj.weight": (width, width), "before_proj.bias": (width,)}
    sizes = [("audio_proj.proj1", hidden, HEARD), ("audio_proj.proj2", hidden, hidden)]
    sizes += [("audio_proj.proj3", 4 * width, hidden)]
    for name, size in (("motion_exp", width // 4), ("motion_pose", width // 4), ("fps_proj", width)):
        sizes += [(f"{name}.mlp.0", size, 256), (f"{name}.mlp.2", size, size)]
    for name, out, into in sizes:
        found |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    found |= {f"audio_proj.norm.{part}": (width,) for part in ("weight", "bias")}
    for i in range(doubles // 2):
        block = f"audio_adapter_blocks.{i}"
        found |= {f"{block}.norm{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")}
        found |= {f"{block}.{name}.weight": size for name, size in
                  (("to_q", (inner, width)), ("to_kv", (2 * inner, width)), ("to_out", (width, inner)))}  # fmt: skip
    return found


def random_weights(seed=0, **sizes) -> dict[str, torch.Tensor]:
    """Scaled so that every part, sound included, shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * (1.0 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1)
        + float("norm" in name and name.endswith("weight"))
        for name, shape in shapes(**sizes).items()
    }


def inputs(frames=3, size=4, people=1, text=7, seed=0, audio=None) -> dict[str, torch.Tensor]:
    """Arguments of the forward for one branch."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(*shape, generator=generator)

    face = torch.zeros(1, people, 8 * size, 8 * size)
    for person in range(people):
        face[:, person, : 4 * size, person * 4 * size : (person + 1) * 4 * size] = 1
    return {
        "x": some(1, 16, frames, size, size), "timestep": torch.tensor([731.0]), "context": some(1, text, TEXT),
        "y": some(1, POOLED), "avatar_ref": some(1, 16, frames, size, size),
        "avatar_audio": some(1, people, frames, 4, HEARD) if audio is None else audio,
        "avatar_face": face, "avatar_fps": torch.tensor([25.0]),
    }  # fmt: skip


def forward(w: dict, x, timestep, context, y, avatar_ref, avatar_audio, avatar_face, avatar_fps):
    """The velocity [1, 16, T, H, W] by official weights w, one sample, no replaced block, no text mask."""

    def linear(name, value):
        return F.linear(value, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def pair(name, value, first="mlp.0", second="mlp.2"):
        return linear(f"{name}.{second}", F.silu(linear(f"{name}.{first}", value)))

    def waves(numbers):
        angles = numbers.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        return torch.cat((angles.cos(), angles.sin()), dim=-1)

    def norm(name, value, eps=1e-5):
        scale, shift = (w.get(f"{name}.{part}") for part in ("weight", "bias"))
        return F.layer_norm(value, value.shape[-1:], scale, shift, eps)

    def patches(name, latent):
        return F.conv3d(latent, w[f"{name}.proj.weight"], w[f"{name}.proj.bias"], stride=PATCH).flatten(2).mT

    def rms(name, value):
        return value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + 1e-6) * w[f"{name}.weight"]

    def heads(qkv, *names):
        q, k, v = qkv.unflatten(-1, (3, -1, 128)).permute(2, 0, 3, 1, 4)
        return (rms(names[0], q), rms(names[1], k), v) if names else (q, k, v)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    width = w["before_proj.bias"].shape[0]
    ref, frames = patches("img_in", avatar_ref[:, :, :1]), x.shape[2]
    img = torch.cat((ref, patches("img_in", x) + linear("before_proj", patches("ref_in", avatar_ref))), dim=1)
    vec = pair("time_in", waves(timestep)) + pair("fps_proj", waves(avatar_fps))
    vec += pair("vector_in", y, "in_layer", "out_layer")
    for name, strength in (("motion_exp", 30.0), ("motion_pose", 25.0)):
        vec += pair(name, waves(torch.full((4,), strength))).flatten()

    mean = pair("txt_in.c_embedder", context.mean(dim=1), "linear_1", "linear_2")
    told, txt = pair("txt_in.t_embedder", waves(timestep)) + mean, linear("txt_in.input_embedder", context)
    for name in (f"txt_in.individual_token_refiner.blocks.{i}" for i in range(2)):
        gates = linear(f"{name}.adaLN_modulation.1", F.silu(told)).chunk(2, dim=-1)
        qkv = linear(f"{name}.self_attn_qkv", norm(f"{name}.norm1", txt, 1e-6))
        q, k, v = qkv.unflatten(-1, (3, width // 128, -1)).permute(2, 0, 3, 1, 4)
        txt = txt + linear(f"{name}.self_attn_proj", attend(q, k, v)) * gates[0]
        txt = txt + pair(name, norm(f"{name}.norm2", txt, 1e-6), "mlp.fc1", "mlp.fc2") * gates[1]

    rows, columns = x.shape[3] // 2, x.shape[4] // 2
    where = [(t, r, c) for t in (-1, *range(frames)) for r in range(rows) for c in range(columns)]
    angles = torch.cat([
        torch.tensor([place[axis] for place in where])[:, None] / THETA ** (torch.arange(0, size, 2) / size)
        for axis, size in enumerate(AXES)
    ], dim=-1)  # fmt: skip

    def turned(value):
        even, odd = value[..., 0::2], value[..., 1::2]
        cos, sin = angles.cos(), angles.sin()
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)

    heard = F.relu(linear("audio_proj.proj2", F.relu(linear("audio_proj.proj1", avatar_audio[0]))))
    heard = norm("audio_proj.norm", linear("audio_proj.proj3", heard).unflatten(-1, (4, width))).flatten(2, 3)
    stride = avatar_face.shape[-1] // columns
    face = avatar_face[0, :, ::stride, ::stride].flatten(1)

    def mods(name, value, parts):
        return [part[:, None] for part in linear(name, F.silu(value)).chunk(parts, dim=-1)]

    def half(side, i, value):
        name = f"double_blocks.{i}.{side}"
        parts = mods(f"{name}_mod.linear", vec, 6)
        plain = norm("none", value, 1e-6) * (1 + parts[1]) + parts[0]
        return parts, heads(linear(f"{name}_attn_qkv", plain), f"{name}_attn_q_norm", f"{name}_attn_k_norm")

    def rest(side, i, value, parts, attended):
        name = f"double_blocks.{i}.{side}"
        value = value + linear(f"{name}_attn_proj", attended) * parts[2]
        plain = norm("none", value, 1e-6) * (1 + parts[4]) + parts[3]
        fed = linear(f"{name}_mlp.fc2", F.gelu(linear(f"{name}_mlp.fc1", plain), approximate="tanh"))
        return value + fed * parts[5]

    i = 0
    while f"double_blocks.{i}.img_mod.linear.bias" in w:
        (img_parts, (iq, ik, iv)), (txt_parts, (tq, tk, tv)) = half("img", i, img), half("txt", i, txt)
        both = attend(torch.cat((turned(iq), tq), 2), torch.cat((turned(ik), tk), 2), torch.cat((iv, tv), 2))
        img = rest("img", i, img, img_parts, both[:, : img.shape[1]])
        txt = rest("txt", i, txt, txt_parts, both[:, img.shape[1] :])
        if i % 2:
            name, video = f"audio_adapter_blocks.{i // 2}", img[0, ref.shape[1] :].unflatten(0, (frames, -1))
            for person in range(len(heard)):
                key, value = linear(f"{name}.to_kv", norm(f"{name}.norm1", heard[person])).chunk(2, dim=-1)
                query = linear(f"{name}.to_q", norm(f"{name}.norm2", video))
                weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
                said = linear(f"{name}.to_out", weights @ value) * face[person][:, None]
                img = img + torch.cat((torch.zeros_like(ref), said.flatten(0, 1)[None]), dim=1)
        i += 1
    tokens, i = torch.cat((img, txt), dim=1), 0
    while (name := f"single_blocks.{i}") + ".linear1.bias" in w:
        shift, scale, gate = mods(f"{name}.modulation.linear", vec, 3)
        plain = norm("none", tokens, 1e-6) * (1 + scale) + shift
        qkv, fed = linear(f"{name}.linear1", plain).split((3 * width, 4 * width), -1)
        q, k, v = heads(qkv, f"{name}.q_norm", f"{name}.k_norm")
        q, k = (torch.cat((turned(each[:, :, : img.shape[1]]), each[:, :, img.shape[1] :]), 2) for each in (q, k))
        mixed = torch.cat((attend(q, k, v), F.gelu(fed, approximate="tanh")), dim=-1)
        tokens, i = tokens + linear(f"{name}.linear2", mixed) * gate, i + 1
    shift, scale = mods("final_layer.adaLN_modulation.1", vec, 2)
    out = linear("final_layer.linear", norm("none", tokens[:, ref.shape[1] : img.shape[1]], 1e-6) * (1 + scale) + shift)
    return out.reshape(1, frames, rows, columns, 16, 2, 2).permute(0, 4, 1, 2, 5, 3, 6).reshape(x.shape)
