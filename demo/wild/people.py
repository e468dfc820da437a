"""How a person is painted: a head that turns like a ball with a face on it, shoulders that shrug, hands that speak."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..people import MOUTH_DROP, MOUTH_WIDTH, MOUTH_Y
from .canvas import View, box, constant, ellipse, finger, limb, stroke, turned
from .cast import Traits
from .motion import Tracks

NECK_Y = 0.70  # the head tilts about this point


@dataclass(frozen=True)
class Head:
    """Coordinates on a head. x, y: of its outline; u, v: of the face that is drawn on it, which shift and shrink as
    it turns; front: above zero where that face is in sight."""

    x: Tensor
    y: Tensor
    u: Tensor
    v: Tensor
    front: Tensor


def grey(level: float, view: View, red: float = 0.0) -> Tensor:
    return constant(level + red, level, level, view.picture.device)


def pivot_of(motion: Tracks) -> tuple[Tensor, Tensor]:
    """The point of the neck about which the head tilts, in the person's coordinates."""
    return motion.body_x + motion.lean_x, motion.body_y + motion.lean_y + NECK_Y


def face_on_ball(x: Tensor, y: Tensor, traits: Traits, motion: Tracks) -> tuple[Tensor, Tensor, Tensor]:
    """Outline coordinates -> coordinates on the straight face, and how much it faces us there."""
    u, v = x / traits.width, y / traits.height
    w = (1 - u.square() - v.square()).clamp(min=0).sqrt()
    across, near = u * motion.yaw.cos() - w * motion.yaw.sin(), u * motion.yaw.sin() + w * motion.yaw.cos()
    down = v * motion.pitch.cos() - near * motion.pitch.sin()
    return across * traits.width, down * traits.height, v * motion.pitch.sin() + near * motion.pitch.cos()


def place_of(traits: Traits, motion: Tracks, u: float, v: float) -> tuple[Tensor, Tensor]:
    """The reverse for one point of the straight face: where it is in the person's coordinates."""
    across, down = u / traits.width, v / traits.height
    near = (1 - across**2 - down**2).clamp(min=0).sqrt()
    y = down * motion.pitch.cos() + near * motion.pitch.sin()
    near = near * motion.pitch.cos() - down * motion.pitch.sin()
    x = (across * motion.yaw.cos() + near * motion.yaw.sin()) * traits.width
    x, y = turned(x, y * traits.height - NECK_Y, -motion.tilt)
    pivot = pivot_of(motion)
    return x + pivot[0], y + pivot[1]


def head_of(view: View, traits: Traits, motion: Tracks) -> Head:
    pivot = pivot_of(motion)
    x, y = turned(view.x - pivot[0], view.y - pivot[1], motion.tilt)
    y = y + NECK_Y
    return Head(x, y, *face_on_ball(x, y, traits, motion))


def paint_person(view: View, traits: Traits, motion: Tracks, opening: Tensor) -> None:
    """Paint one person with mouth openings [B, 1, F, 1, 1]."""
    head = head_of(view, traits, motion)
    paint_body(view, traits, motion, head)
    paint_face(view, traits, motion, head, opening)
    paint_nose(view, traits, motion, head)
    paint_eyes(view, traits, motion, head)
    paint_mouth(view, traits, head, opening)
    paint_hair(view, traits, head)
    for side in (-1, 1):
        paint_hand(view, traits, motion, side)


def fabric(traits: Traits, x: Tensor, y: Tensor) -> Tensor:
    """How much of the second colour is on the clothes, 0..1."""
    across, down = (x * traits.pitch_of_cloth).sin(), (y * traits.pitch_of_cloth).sin()
    soft = lambda wave: (0.5 + 1.6 * wave).clamp(0, 1)  # noqa: E731
    knit = 0.5 + 0.5 * ((x.abs() * 0.6 + y) * traits.pitch_of_cloth * 1.2).sin() * (0.6 + 0.4 * across)
    return (traits.cloth_stripes * soft(down) + traits.cloth_bars * soft(across)
            + traits.cloth_checks * (0.5 * soft(across) + 0.5 * soft(down))
            + traits.cloth_dots * ((across * down).abs() - 0.4).clamp(0, 0.25) * 4 + traits.cloth_knit * 0.6 * knit)


def paint_body(view: View, traits: Traits, motion: Tracks, head: Head) -> None:
    """Long hair behind, shoulders with their fabric, neck and collar."""
    x, y = turned(view.x - motion.body_x, view.y - motion.body_y - 1.5, motion.body_tilt)
    y = y + 1.5
    hair = ellipse(head.x, head.y - 0.12, traits.width + 0.19, 0.92)
    view.paint(view.coverage(hair) * traits.style_long, traits.hair * 0.8, human=True)
    lift = torch.lerp(motion.shrug_l, motion.shrug_r, (0.5 + x).clamp(0, 1)) * (x.abs() * 2.2).clamp(0, 1)
    raised = y + lift
    shape = torch.minimum(ellipse(x, raised - 1.28, 0.98, 0.56), box(x, raised - 2.2, 0.96, 0.92))
    fold = (1 - 0.30 * (x.abs() - 0.2).clamp(0, 1) - 0.10 * ((x.abs() - 0.62).abs() < 0.03)).clamp(0, 1)
    cloth = torch.lerp(traits.clothes, traits.trim, fabric(traits, x, raised) * 0.8)
    view.paint(view.coverage(shape), cloth * fold, human=True)
    pivot = pivot_of(motion)
    top = (pivot[0] + 0.25 * motion.tilt, pivot[1] - 0.25)
    sway = (motion.body_x + 0.6 * motion.body_tilt, motion.body_y + 0.84)
    neck = limb(view.x, view.y, top, sway, 0.23)
    view.paint(view.coverage(neck, 0.02), traits.skin * 0.78, human=True)
    ring = (ellipse(view.x - sway[0], view.y - sway[1] + 0.02, 0.29, 0.17)).abs() - 0.045
    ring = torch.maximum(ring, sway[1] - 0.04 - view.y)
    view.paint(view.coverage(ring) * traits.collar, traits.trim, human=True)


def paint_face(view: View, traits: Traits, motion: Tracks, head: Head, opening: Tensor) -> None:
    """Ears, the face with its shading and blush, and beards; the chin drops a little with the jaw."""
    for side in (-1, 1):
        ear = head.x - side * traits.width * motion.yaw.cos() + 0.06 * motion.yaw.sin()
        view.paint(view.coverage(ellipse(ear, head.y - 0.02, 0.09, 0.14)), traits.skin * 0.84, human=True)
    chin = head.y / (1 + 0.07 * opening * (head.y > 0))
    narrow = 1 + 0.30 * head.y.clamp(min=0) ** 1.5
    outline = ellipse((head.x - 0.10 * motion.yaw * head.y.clamp(min=0)) * narrow, chin, traits.width, traits.height)
    face = view.coverage(outline)
    rim = (head.x / traits.width).square() + (head.y / traits.height).square()
    tone = 1.04 - 0.22 * rim.clamp(0, 1).square() + 0.16 * (head.x * motion.light_x + head.y * motion.light_y)
    view.paint(face, (traits.skin * tone).clamp(0, 1), human=True)
    face = face * (head.front * 6).clamp(0, 1)
    for side in (-1, 1):
        blush = torch.exp(-((head.u - side * 0.30).square() + (head.v - 0.16).square()) / 0.018) * 0.16
        view.paint(blush * face, traits.skin * grey(0.62, view, 0.38))
    bearded = torch.minimum(head.v - 0.20 - 0.5 * (head.u.abs() - 0.25).clamp(min=0), head.u.abs() + 9)
    bare = ellipse(head.u, head.v - MOUTH_Y - 0.02, MOUTH_WIDTH + 0.06, 0.12 + 0.13 * opening)
    stubble = view.coverage(torch.maximum(-bearded, -bare), 0.05) * face * traits.beard
    view.paint(stubble * 0.75, traits.hair)


def paint_nose(view: View, traits: Traits, motion: Tracks, head: Head) -> None:
    """A lit ridge and a soft shadow below the tip; the tip stands out, and so moves further than the face."""
    x, y = head.u - 0.16 * motion.yaw.sin(), head.v - 0.12 * motion.pitch.sin()
    front = (head.front * 6).clamp(0, 1)
    ridge = torch.exp(-x.square() / 0.0014) * view.coverage((y - 0.03).abs() - 0.13, 0.1)
    view.paint(ridge * 0.4 * front, (traits.skin * 1.15).clamp(0, 1))
    view.paint(view.coverage(ellipse(x, y - 0.165, 0.09, 0.04), 0.03) * 0.8 * front, traits.skin * 0.64)
    view.paint(view.coverage(ellipse(x, y - 0.14, 0.07, 0.04), 0.02) * 0.8 * front, traits.skin * 1.02)


def paint_eyes(view: View, traits: Traits, motion: Tracks, head: Head) -> None:
    """Whites, irises that look about, lids that blink, brows, and sometimes glasses."""
    lids, front = motion.lids, (head.front * 6).clamp(0, 1)
    for side in (-1, 1):
        x, y = head.u - side * traits.eye_gap, head.v + 0.07
        socket = view.coverage(ellipse(x, y, 0.125, 0.085 * lids)) * front
        view.paint(view.coverage(ellipse(x, y + 0.012, 0.15, 0.105)) * front, traits.skin * 0.82)
        view.paint(socket, grey(0.96, view))
        ix, iy = x - motion.gaze_x, y - motion.gaze_y
        view.paint(socket * view.coverage(ellipse(ix, iy, 0.066, 0.072)), traits.iris)
        view.paint(socket * view.coverage(ellipse(ix, iy, 0.034, 0.036)), grey(0.04, view))
        lash = stroke(x, y + 0.080 * lids - 0.6 * x.square(), 0.115, 0.015)
        view.paint(view.coverage(lash) * 0.85 * front, traits.hair * 0.35)
        brow = stroke(x, y + 0.18 + motion.brows + side * traits.brow_tilt * x - 1.2 * x.square(), 0.12, 0.0)
        view.paint(view.coverage(brow - traits.brow_thick) * 0.9 * front, traits.hair * 0.6)
        ring = ellipse(x, y, 0.185, 0.150).abs() - 0.016
        view.paint(view.coverage(ring) * traits.glasses * front, grey(0.12, view))


def paint_mouth(view: View, traits: Traits, head: Head, opening: Tensor) -> None:
    """Lips around a dark interior with upper teeth and a tongue; closed lips show only a line."""
    front = (head.front * 6).clamp(0, 1)
    half = 0.5 * MOUTH_DROP * opening + 1e-3
    width = MOUTH_WIDTH * (1 - 0.14 * opening)
    x, y = head.u, head.v - MOUTH_Y - 0.6 * half + 0.55 * head.u.square() * (1 - opening)
    bow = 0.03 * (x / 0.07).clamp(-3.14, 3.14).cos() * (y < 0)
    view.paint(view.coverage(ellipse(x, y - 0.01, width, half + 0.062) + 0.5 * bow) * front, traits.lips)
    inside = view.coverage(ellipse(x, y, width * 0.86, half)) * (half / view.pixel).clamp(0, 1) * front
    view.paint(inside, grey(0.04, view, 0.09))
    view.paint(inside * view.coverage(ellipse(x, y - 1.05 * half, width * 0.55, 0.45 * half)), grey(0.23, view, 0.39))
    view.paint(inside * view.coverage(y + half - (0.6 * half).clamp(max=0.055)), grey(0.91, view))
    line = stroke(x, y, MOUTH_WIDTH * 0.8, 0.014)
    view.paint(view.coverage(line) * (1 - 8 * opening).clamp(0, 1) * 0.9 * front, traits.lips * 0.40)


def paint_hair(view: View, traits: Traits, head: Head) -> None:
    """A cap of strands cut by a hairline that depends on the style and turns with the face."""
    haired = 1 - traits.style_bald
    bun = ellipse(head.u, head.y + traits.height + 0.08, 0.22, 0.17)
    view.paint(view.coverage(bun) * traits.style_bun, traits.hair * 0.9, human=True)
    square = head.u.square()
    line = (traits.style_short * (-0.42 + 0.5 * square) + traits.style_parted * (-0.42 + 0.28 * head.u + 0.5 * square)
            + traits.style_fringe * (-0.30 + 0.04 * (14 * head.u).sin()) + traits.style_long * (-0.48 + 0.9 * square)
            + traits.style_bun * (-0.46 + 0.8 * square))
    side = (0.86 + 0.04 * traits.style_long) * traits.width - 0.10 * (head.v + 0.5).clamp(0, 1)
    cap = ellipse(head.x, head.y + 0.03, traits.width + 0.065, traits.height + 0.05)
    inner = torch.maximum(torch.maximum(head.u.abs() - side, line - head.v), 0.3 * (0.10 - head.front))
    reach = head.y - 0.45 * traits.style_long - 0.03
    cover = view.coverage(torch.maximum(torch.maximum(cap, -inner * 0.9), reach)) * haired
    strands = 1 + traits.strand_depth * (traits.strands * (head.u + 0.25 * head.u * head.v)).sin()
    shine = 0.35 * torch.exp(-(head.v + 0.58).square() / 0.012)
    view.paint(cover, (traits.hair * (strands + shine)).clamp(0, 1), human=True)


def paint_hand(view: View, traits: Traits, motion: Tracks, side: int) -> None:
    """A forearm in its sleeve and a hand with fingers, raised beside the body, or below the picture."""
    name = "hand_l" if side < 0 else "hand_r"
    up = getattr(motion, name)
    x = motion.body_x + side * (0.95 - 0.12 * up) + getattr(motion, name + "_x")
    y = motion.body_y + 2.3 - 1.45 * up + getattr(motion, name + "_y") * up
    elbow = (motion.body_x + side * 1.05, motion.body_y + 2.2 - 0.3 * up)
    sleeve = (torch.lerp(elbow[0], x, 0.72), torch.lerp(elbow[1], y + 0.15, 0.72))
    view.paint(view.coverage(limb(view.x, view.y, sleeve, (x, y + 0.1), 0.085)), traits.skin * 0.86, human=True)
    cloth = torch.lerp(traits.clothes, traits.trim, fabric(traits, view.x - x, view.y - y) * 0.8)
    view.paint(view.coverage(limb(view.x, view.y, elbow, sleeve, 0.15)), cloth * 0.85, human=True)
    px, py = turned(view.x - x, view.y - y, getattr(motion, name + "_turn"))
    shape = ellipse(px, py, 0.115, 0.135)
    for number in range(4):
        lean = 0.075 * (number - 1.5)
        shape = torch.minimum(shape, finger(px, py, (0.9 * lean, -0.08), (1.7 * lean, -0.29 + 0.25 * abs(lean)), 0.036))
    shape = torch.minimum(shape, finger(px, py, (-side * 0.07, 0.02), (-side * 0.20, -0.10), 0.036))
    view.paint(view.coverage(shape - 0.012), traits.skin * 0.62, human=True)
    view.paint(view.coverage(shape + 0.012), traits.skin * 0.97, human=True)
