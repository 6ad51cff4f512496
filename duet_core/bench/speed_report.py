"""The speed bench in words and in a picture: ratios first, since absolute times are one machine's."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

_SAME: dict[bool | None, str] = {True: ", the same on both sides", False: ", not all the same on both sides", None: ""}
_CPU_INFO = Path("/proc/cpuinfo")
_COLUMNS = {
    "budget": lambda row: row["budget"],
    "prefill faster": lambda row: _times(row["prefill_ratio"]),
    "FLOPs fewer": lambda row: f"{row['flops_ratio']:.2f}x",
    "bare layers faster": lambda row: _times(row["floor_ratio"]),
    "prefill / bare layers": lambda row: _times(row["over_floor"]),
    "with selection": lambda row: _times(row["with_selection_over_floor"]),
    "selection / full prefill": lambda row: f"{100 * row['selection_share']['median']:.1f} %",
    "first token sooner": lambda row: _times(row["first_token_ratio"]),
    "second question / first, all tokens": lambda row: _times(row["again_over_full"]),
}
_MACHINE = {
    "budget": lambda row: row["budget"],
    "encode": lambda row: _ms(row["encode_ms"]),
    "selection": lambda row: _ms(row["select_ms"]),
    "prefill": lambda row: _ms(row["prefill_ms"]),
    "first token": lambda row: _ms(row["first_token_ms"]),
    "per further token": lambda row: _ms(row["decode_ms"]),
    "TFLOPs": lambda row: f"{row['flops'] / 1e12:.3f}",
    "KV cache": lambda row: f"{row['kv_bytes'] / 1e6:.1f} MB",
    "peak memory": lambda row: "not told" if row.get("peak_bytes") is None else f"{row['peak_bytes'] / 1e6:.0f} MB",
}


def machine() -> dict[str, Any]:
    """Return what a figure depends on: processor or GPU, threads, and the versions that ran."""
    names = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": gpu or (names[0] if names else platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _cpu_lines() -> list[str]:
    return _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []


def speed_table(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    about = report["machine"]
    lines = [_against(many, own) for many, own in report["against_generate"].items()]
    lines += [
        "",
        *_table(_COLUMNS, report["budgets"]),
        "",
        "What they are ratios of, milliseconds on this machine:",
        "",
    ]
    lines += [*_table(_MACHINE, report["budgets"]), ""]
    lines.append(", ".join(f"{name} {value}" for name, value in about.items()))
    return "\n".join(lines)


def _against(batch: str, own: Mapping[str, Any]) -> str:
    same = _SAME[own.get("same_tokens")]
    return (
        f"Nothing dropped, our loop against transformers' generate, batch {batch}: prefill with the encoder"
        f" {_times(own['prefill'])}, decode {_times(own['decode'])} of its time; {own['new_tokens']} new tokens{same},"
        f" {own['prefill']['runs']} pairs."
    )


def _table(columns: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows]


def _times(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f}x ({spread['low']:.2f} to {spread['high']:.2f})"


def _ms(spread: Mapping[str, float] | None) -> str:
    return "" if spread is None else f"{spread['median']:.1f}"
