"""The room behind the speakers: a papered wall with pictures and a window, somebody who walks past."""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import Canvas, View, box, constant, ellipse
from .cast import THINGS, Traits
from .motion import Tracks


def wallpaper(traits: Traits, x: Tensor, y: Tensor) -> Tensor:
    """How much of the second colour is on the wall at room coordinates, 0..1."""
    across, down = (x * traits.wall_pitch).sin(), (y * traits.wall_pitch).sin()
    soft = lambda wave: (0.5 + 2.0 * wave).clamp(0, 1)  # noqa: E731
    tiles = torch.maximum((across - 0.75).clamp(min=0), (down - 0.75).clamp(min=0)) * 4
    dots = (across * down - 0.45).clamp(0, 0.3) / 0.3
    return (traits.wall_stripes * soft(across) + traits.wall_boards * soft(down) + traits.wall_tiles * tiles
            + traits.wall_dots * dots).clamp(0, 1)


def paint_room(canvas: Canvas, traits: Traits, motion: Tracks) -> None:
    """Paint the room as a camera sees it that pans and zooms; it slides past behind the speakers."""
    zoom = motion.zoom.exp()
    x = canvas.x / zoom + motion.pan_x + motion.slide
    y = canvas.y / zoom + motion.pan_y
    view = View(canvas, x, y, zoom)
    shade = (0.75 + 0.25 * (y + traits.slant * x)).clamp(0.4, 1.15)
    paper = torch.lerp(traits.wall, traits.wall2, wallpaper(traits, x, y) * 0.7)
    canvas.picture.copy_((paper * shade).clamp(0, 1))
    view.paint(view.coverage(traits.rail - y, 0.01), traits.floor * shade)
    view.paint(view.coverage((y - traits.rail).abs() - 0.025), traits.floor * 0.5)
    for number in range(THINGS):
        paint_thing(view, traits, number)
    paint_window(view, traits, motion)
    paint_passer(view, motion)


def paint_thing(view: View, traits: Traits, number: int) -> None:
    """A framed picture with a simple pattern inside."""
    get = lambda part: getattr(traits, f"thing{number}{part}")  # noqa: E731
    x, y, shown = view.x - get("_x"), view.y - get("_y"), get("")
    view.paint(view.coverage(box(x, y, get("_w"), get("_h"))) * shown, get("_frame"))
    inside = view.coverage(box(x, y, get("_w") - 0.045, get("_h") - 0.045)) * shown
    view.paint(inside, get("_inside"))
    wave = (0.5 + 1.5 * ((x + 0.7 * y) * get("_pitch")).sin()).clamp(0, 1)
    view.paint(inside * wave * 0.6, get("_frame"))


def paint_window(view: View, traits: Traits, motion: Tracks) -> None:
    """A bright window with a cross, and the patch of light that it throws on the wall."""
    x, y = view.x - traits.window_x, view.y - traits.window_y
    glow = torch.exp(-2.5 * ((x - 0.5 * motion.sun - 0.3 * traits.window_x.sign()).square() + (y - 0.5).square()))
    view.picture.mul_(1 + 0.35 * glow * traits.window)
    pane = view.coverage(box(x, y, 0.26, 0.34)) * traits.window
    sky = constant(0.80, 0.90, 1.0, pane.device) * (0.9 + 0.25 * motion.light)
    view.paint(pane, sky.clamp(0, 1))
    bars = torch.minimum(x.abs(), y.abs()) - 0.02
    frame = (box(x, y, 0.26, 0.34) + 0.02).abs() - 0.03
    view.paint(view.coverage(torch.minimum(torch.maximum(bars, box(x, y, 0.26, 0.34)), frame)) * traits.window,
               traits.floor * 0.8)


def paint_passer(view: View, motion: Tracks) -> None:
    """Somebody out of focus who walks past in the background."""
    x = view.x - motion.passer
    tone = motion.passer_tone * constant(1.0, 0.9, 1.1, x.device)
    view.paint(view.coverage(ellipse(x, view.y - 0.75, 0.22, 0.75), 0.06), tone)
    view.paint(view.coverage(ellipse(x, view.y + 0.12, 0.11, 0.15), 0.06), tone * 0.6 + 0.3)


def light_everything(canvas: Canvas, motion: Tracks) -> None:
    """The light of the whole scene comes, goes and wanders."""
    gain = 1 + motion.light * 0.55 + 0.22 * (canvas.x * motion.light_x + canvas.y * motion.light_y)
    canvas.picture.mul_(gain).clamp_(0, 1)
