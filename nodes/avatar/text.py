"""The avatar's text: HunyuanVideo's, with the tokens of the reference picture kept that stand behind the end of the turn.

ComfyUI's text encoder of HunyuanVideo ends the text at the first end-of-turn token after the user's words. The avatar was
trained with a sentence and a picture behind it.
"""

from .model import BadAvatar

SUFFIX = "\nThe person looks like<image>"
HEADER = (128006, 882, 128007)  # <|start_header_id|> user <|end_header_id|>
BLANK_LINE = 271  # what follows it


def encode(clip, prompt: str, vision):
    """CONDITIONING of a prompt and the picture as llava saw it (CLIP_VISION_OUTPUT). Raises BadAvatar."""
    seen = getattr(vision, "mm_projected", None)
    if seen is None:
        raise BadAvatar("clip_vision_output knows no language model: load llava_llama3_vision with Load CLIP Vision")
    template = getattr(clip.tokenizer, "llama_template", None)
    if template is None or not hasattr(clip.cond_stage_model, "llama"):
        raise BadAvatar("clip is another text encoder: load llava_llama3 and clip_l with DualCLIPLoader, type hunyuan_video")
    tokens = clip.tokenize(prompt, llama_template=template + SUFFIX, image_embeds=seen)
    model = clip.cond_stage_model
    model.reset_clip_options()
    clip.load_model(tokens)
    model.set_clip_options({"execution_device": clip.patcher.load_device})
    hidden, _, extra = model.llama.encode_token_weights(tokens["llama"])
    _, pooled = model.clip_l.encode_token_weights(tokens["l"])
    start = start_of_text([token[0] for token in tokens["llama"][0]])
    told = {"pooled_output": pooled}
    mask = extra.get("attention_mask")
    if mask is not None and not mask[:, start:].all():
        told["attention_mask"] = mask[:, start:]
    clip.add_hooks_to_dict(told)
    return [[hidden[:, start:], told]]


def start_of_text(tokens: list) -> int:
    """Index of the first token of the user's words; a picture's tokens all stand behind it."""
    numbers = [token if isinstance(token, int) else None for token in tokens]
    for index in range(len(numbers) - len(HEADER)):
        if tuple(numbers[index : index + len(HEADER)]) == HEADER:
            after = index + len(HEADER)
            return after + (after < len(numbers) and numbers[after] == BLANK_LINE)
    raise BadAvatar("the text has no user's turn: clip's template is not that of HunyuanVideo")
