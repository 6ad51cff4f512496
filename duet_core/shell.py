"""The shell commands `ask` and `scenes`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from PIL import Image, ImageOps, UnidentifiedImageError

from duet_core.brush import Brush, parse_patches
from duet_core.clips import FrameRule, choose_frames, is_clip, parse_times, read_clip, seconds_of
from duet_core.cost import Cost
from duet_core.devices import Attention, Quantize
from duet_core.engine import Answer, Model, Picture, open_model
from duet_core.errors import PictureError
from duet_core.film import Film
from duet_core.plan import Plan
from duet_core.scenes import write_clips, write_scenes
from duet_core.trace import Trace

_FIGURES = (
    ("first token", "first_token_ms", "ms"),
    ("encoder", "encode_ms", "ms"),
    ("selection", "select_ms", "ms"),
    ("prefill", "prefill_ms", "ms"),
    ("decode per token", "decode_ms", "ms"),
    ("KV cache", "kv_bytes", "bytes"),
    ("prefill FLOPs", "prefill_flops", ""),
)


def ask(argv: list[str]) -> int:
    """Answer one question twice, with all visual tokens and with fewer, and print counts and figures."""
    parser = argparse.ArgumentParser("duet_core ask", description=ask.__doc__)
    parser.add_argument("subject", type=Path, metavar="PICTURE|CLIP")
    parser.add_argument("question")
    parser.add_argument(
        "--budget", type=float, help="visual tokens per layer, on average, of all frames together (default: a third)"
    )
    parser.add_argument("--frames", type=int, default=8, help="of a clip: how many to look at, 4 to 32")
    parser.add_argument("--choose", default="uniform", choices=("uniform", "change"), help="of a clip: which frames")
    parser.add_argument("--at", help="of a clip: the frames nearest to these times instead, such as 0.5,2,1:03")
    parser.add_argument("--method", default="duet")
    parser.add_argument("--model", default="duet-mini", help="bundled name, folder or hub repository")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantize", choices=get_args(Quantize), help="fewer bits per weight, on CUDA")
    parser.add_argument("--attention", default="auto", choices=get_args(Attention))
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--keep", default="", help="patches that the reduced answer keeps in any case: 3,4,17-20")
    parser.add_argument("--drop", default="", help="patches that the reduced answer never sees")
    parser.add_argument("--json", type=Path, help="write both answers, the trace and the figures to this file")
    options = parser.parse_args(argv)
    brush = Brush(parse_patches(options.keep), parse_patches(options.drop))
    picture = _open_subject(options)
    how = {"quantize": options.quantize, "attention": options.attention}
    model = open_model(options.model, options.device, options.dtype, **how)
    wanted = {"reduction": 2 / 3} if options.budget is None else {"budget": options.budget}
    plans = model.plan("none"), model.plan(options.method, encoded=model.encode(picture), **wanted)
    model.ask(picture, options.question, plans[0], max_new_tokens=1)  # warms up, so that the times compare
    full, reduced = (
        model.ask(picture, options.question, plan, options.max_new_tokens, brush=painted)
        for plan, painted in zip(plans, (None, brush), strict=True)
    )
    print(report(full, reduced))
    if options.json:
        options.json.write_text(json.dumps(as_json(model, options.question, plans[1], full, reduced)) + "\n")
    return 0


def _open_subject(options: argparse.Namespace) -> Picture:
    """Open the picture, or the chosen frames of the clip."""
    if not is_clip(options.subject):
        return open_picture(options.subject)
    clip = read_clip(options.subject)
    rule: FrameRule = "times" if options.at else options.choose
    chosen = choose_frames(clip, options.frames, rule, parse_times(options.at) if options.at else ())
    return Film(tuple(clip.frames[number] for number in chosen), seconds_of(clip, chosen))


def open_picture(path: Path) -> Image.Image:
    """Open a picture file upright; a PictureError says what is wrong with it."""
    try:
        return ImageOps.exif_transpose(Image.open(path))
    except FileNotFoundError as error:
        raise PictureError(f"There is no file {path}; check the path.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise PictureError(f"The file {path} is no picture that can be read; give a PNG, JPEG or WebP.") from error


def report(full: Answer, reduced: Answer) -> str:
    """Return both answers, the three token counts and the figures as lines of text."""
    trace = reduced.trace
    lines = [
        f"all tokens  {full.text}",
        f"reduced     {reduced.text}",
        "",
        f"visual tokens: {trace.full} in all{_frames(trace)}, {trace.entering} into the language model,"
        f" {trace.average_tokens:.1f} on average over its layers, {trace.final} at the end",
        "",
        f"{'':18}{'all tokens':>22}{'reduced':>22}   (one run each)",
    ]
    return "\n".join(lines + [_line(name, full.cost, reduced.cost, key, unit) for name, key, unit in _FIGURES])


def _frames(trace: Trace) -> str:
    """Say how many frames of a clip, or crops of a picture, the tokens are of."""
    parts = "crops" if trace.grid.crops else "frames"
    return f" ({trace.grid.pictures} {parts})" if trace.grid.pictures > 1 else ""


def _line(name: str, full: Cost, reduced: Cost, key: str, unit: str) -> str:
    cells = (getattr(cost, key) for cost in (full, reduced))
    texts = ("-" if v is None else f"{v:,.1f}" if isinstance(v, float) else f"{v:,}" for v in cells)
    return f"{name:18}" + "".join(f"{text:>22}" for text in texts) + f"   {unit}"


def as_json(model: Model, question: str, plan: Plan, full: Answer, reduced: Answer) -> dict[str, object]:
    """Return one run as plain JSON values."""
    return {
        "model": model.name,
        "question": question,
        "method": plan.method,
        "full": full.text,
        "reduced": reduced.text,
        "agree": full.text == reduced.text,
        "cost": {"full": full.cost.to_json(), "reduced": reduced.cost.to_json()},
        "trace": reduced.trace.to_json(),
    }


def scenes(argv: list[str]) -> int:
    """Write generated pictures (PNG) or clips (WebP) and questions.json with the true answers into a folder."""
    parser = argparse.ArgumentParser("duet_core scenes", description=scenes.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the next one takes the next seed")
    parser.add_argument("--n", type=int, default=8, help="how many")
    parser.add_argument("--clips", action="store_true", help="clips of eight frames instead of pictures")
    parser.add_argument("--style", help="sprite style (default: one of the training styles, by seed)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    write, what = (write_clips, "clips") if options.clips else (write_scenes, "pictures")
    write(options.out, range(options.seed, options.seed + options.n), options.style)
    rows = json.loads((options.out / "questions.json").read_text())
    questions = sum(len(row["questions"]) for row in rows)
    print(f"{options.n} {what} with {questions} questions in {options.out}")
    return 0
