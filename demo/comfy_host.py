"""ComfyUI inside this process, on the CPU, and its bare model classes for comparisons."""
import logging
import sys

import torch


def open_host(folder, cpu=True):
    """Make ComfyUI importable, ahead of this pack, which has a `nodes` too. The first import fixes the device."""
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    import comfy.options  # noqa: F401  (leaves our own command line alone)
    import utils.extra_config  # noqa: F401  (as main.py does, before nodes.py puts comfy/ and its utils.py on the path)
    from comfy.cli_args import args
    args.cpu = cpu
    args.use_pytorch_cross_attention = True
    logging.getLogger().setLevel(logging.WARNING)


class Host:
    """One ComfyUI folder; weights are loaded per call, so use it for comparisons only."""

    def __init__(self, folder):
        open_host(folder)

    @torch.inference_mode()
    def velocity(self, path, x, sigma, context, audio_embed, reference_latent):
        """ComfyUI's WanModel_S2V with the weights in `path`; arguments and result as `demo.thirdparty.velocity`.

        A zero control video, which ComfyUI's own S2V node always sends, adds the pose encoder's bias.
        """
        import comfy.sd
        patcher = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32})
        timestep = torch.tensor([float(sigma) * 1000.0])
        return patcher.model.diffusion_model(x, timestep, context, audio_embed=audio_embed,
                                             reference_latent=reference_latent, control_video=torch.zeros_like(x),
                                             transformer_options={})

    def vae(self, path):
        """ComfyUI's bare Wan VAE module with the weights in `path`."""
        import comfy.sd
        import comfy.utils
        return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)), dtype=torch.float32).first_stage_model

    @torch.inference_mode()
    def decode(self, path, latents):
        """Raw latents [1,16,T,h,w] -> pixels [1,3,4T-3,8h,8w] in -1..1."""
        return self.vae(path).decode(latents).clamp(-1, 1)

    @torch.inference_mode()
    def encode(self, path, pixels):
        """Pixels [1,3,F,H,W] in -1..1 -> raw latents [1,16,T,h,w]."""
        return self.vae(path).encode(pixels)
