"""The look of the page: calm paper and ink, one green accent, light and dark; fonts that ship with Gradio."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.colors import Color
from gradio.themes.utils.fonts import LocalFont

_GREEN = Color(
    name="duet", c50="#eaf6f1", c100="#cfeae0", c200="#a3d7c5", c300="#6dbfa4", c400="#35a382", c500="#0b8a68",
    c600="#067354", c700="#065c44", c800="#084a38", c900="#093d2f", c950="#04221a",
)  # fmt: skip
_PAPER = Color(
    name="paper", c50="#faf9f6", c100="#f3f1ec", c200="#e5e2da", c300="#cfcbc1", c400="#9d998f", c500="#716e66",
    c600="#56534d", c700="#33363a", c800="#22262a", c900="#191c20", c950="#111417",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """Return the theme to launch with; it asks nothing of any other host."""
    return gr.themes.Base(
        primary_hue=_GREEN,
        secondary_hue=_GREEN,
        neutral_hue=_PAPER,
        radius_size=gr.themes.sizes.radius_lg,
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="#22252a",
        body_text_color_dark="#eceae4",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_shadow="none",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        color_accent="*primary_600",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_950",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_text_color="*neutral_700",
        button_secondary_text_color_dark="*neutral_200",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )
