"""Flow-matching sampling with the schedule that ComfyUI calls "simple". UniPC is diffusers'; the rest needs torch only."""
import torch

SHIFT = 8.0  # ComfyUI's default for Wan models
TABLE = 1000


def shifted(t, shift):
    """Time 0..1 -> sigma 0..1; a larger shift spends more steps on strong noise."""
    return shift * t / (1 + (shift - 1) * t)


def simple_sigmas(steps, shift=SHIFT):
    """`steps` + 1 descending sigmas from 1 to 0: every (1000/steps)-th entry of a table of 1000, then 0."""
    if not 1 <= steps <= TABLE:
        raise ValueError(f"steps must be 1 to {TABLE}, not {steps}")
    picks = [int(step * TABLE / steps) for step in range(steps)]
    return [shifted((TABLE - pick) / TABLE, shift) for pick in picks] + [0.0]


def seeded_noise(shape, seed):
    """The noise that ComfyUI draws for `seed`, of the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def guided(unconditional, conditional, scale):
    """Classifier-free guidance on two velocities of one shape."""
    return unconditional + scale * (conditional - unconditional)


def euler(x, sigmas, velocity, progress=iter):
    """Integrate dx = velocity(x, sigma) dsigma down the list `sigmas`; `progress` wraps the list of steps."""
    for sigma, following in progress(list(zip(sigmas[:-1], sigmas[1:], strict=True))):
        x = x + (following - sigma) * velocity(x, sigma)
    return x


def integrate(sampler, x, sigmas, velocity):
    """From noise x down the sigmas [N + 1] with "euler", or with diffusers' UniPC of order 2 for flow models, "uni_pc"."""
    if sampler == "euler":
        return euler(x, list(sigmas), velocity)
    import numpy
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    scheduler.set_timesteps(sigmas=numpy.array(sigmas[:-1]))
    for sigma, timestep in zip(evaluated_at(sampler, sigmas), scheduler.timesteps):
        x = scheduler.step(velocity(x, sigma), timestep, x).prev_sample
    return x


def evaluated_at(sampler, sigmas):
    """Sigmas [N + 1] at which the model is called: UniPC starts a hair below 1, where its log-SNR is finite."""
    first = min(sigmas[0], 1 - 1e-6) if sampler == "uni_pc" else sigmas[0]
    return [first, *sigmas[1:]]
