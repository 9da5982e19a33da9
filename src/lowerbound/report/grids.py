"""Many images in one: tiles on a grey sheet, without a plotting library."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data import DataSpec
from ..errors import ShapeError

# Neither black nor white images melt into it, and it suits a light page as well as a dark one.
SHEET, INK = 64, 235

_SMALL, _LARGE = 72, 192  # pixels: smaller images are enlarged, larger ones reduced


def image_grid(
    images: Tensor,
    columns: int | None = None,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    group: int = 1,
) -> bytes:
    """Return a PNG of images in rows, from left to right and from top to bottom.

    An edge of ``gap(tile_size(...))`` pixels lies around every tile. Small images are enlarged by a whole factor
    without smoothing, so that every pixel is seen as a square.

    Args:
        images: Images (N, C, H, W) in [0, 1], grey (C = 1) or red, green and blue (C = 3).
        columns: Tiles in a row; a square sheet if None.
        row_labels: Words at the left of the rows, one each; repeated if the sheet has more rows.
        column_labels: Words above the first columns, one each, shortened to a tile's width.
        group: Rows that belong together; a wider edge separates the groups.

    Raises:
        ShapeError: there are no images, or they are not of this shape.
    """
    if images.ndim != 4 or not images.numel() or images.shape[1] not in (1, 3):
        raise ShapeError(f"image_grid needs images (N, C, H, W) with C = 1 or 3; got {tuple(images.shape)}")
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width = tile_size(*images.shape[2:])
    edge = gap((height, width))
    font = ImageFont.load_default(size=15)
    words = [_shortened(text, 12 * 15, font) for text in row_labels]
    labels = [words[row % len(words)] for row in range(rows)] if words else []
    head = 22 if column_labels else 0
    left = math.ceil(max((font.getlength(text) + 14 for text in labels), default=0))

    grey = images.shape[1] == 1
    tops = [
        head + edge + row * (height + edge) + row // group * (2 * edge if group > 1 else 0)
        for row in range(rows)
    ]
    size = left + edge + columns * (width + edge), tops[-1] + height + edge
    sheet = Image.new("L" if grey else "RGB", size, SHEET if grey else (SHEET,) * 3)
    pixels = (images.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    for number, tile in enumerate(pixels):
        array = tile[0] if grey else tile.permute(1, 2, 0)
        how = Image.Resampling.NEAREST if height >= tile.shape[1] else Image.Resampling.LANCZOS
        picture = Image.fromarray(array.numpy()).resize((width, height), how)
        row, column = divmod(number, columns)
        sheet.paste(picture, (left + edge + column * (width + edge), tops[row]))
    draw = ImageDraw.Draw(sheet)
    ink = INK if grey else (INK,) * 3
    for top, text in zip(tops, labels, strict=True) if labels else ():
        draw.text((left - 4, top + height / 2), text, fill=ink, font=font, anchor="rm")
    for column, text in enumerate(column_labels):
        place = left + edge + column * (width + edge) + width / 2, head / 2 + 2
        draw.text(place, _shortened(text, width + edge - 2, font), fill=ink, font=font, anchor="mm")
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    return buffer.getvalue()


def _shortened(text: str, width: float, font: Any) -> str:
    """Return a text from the data on one line, cut where it would be wider than this."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width in pixels at which an image of this size is shown."""
    longest = max(height, width)
    if longest <= _LARGE:
        scale = max(1, round(_SMALL / longest))
        return height * scale, width * scale
    return max(1, round(height * _LARGE / longest)), max(1, round(width * _LARGE / longest))


def gap(tile: tuple[int, int]) -> int:
    """Return the width in pixels of the edge around tiles of this size."""
    return max(2, round(max(tile) / 36))


def value_range(x: Tensor, spec: DataSpec) -> tuple[float, float]:
    """Return the values that are shown as black and as white."""
    if spec.values == "categorical":
        return 0.0, (spec.categories or 2) - 1.0
    if spec.values in ("binary", "unit"):
        return 0.0, 1.0
    low, high = x.min().item(), x.max().item()
    return low, high if high > low else low + 1.0
