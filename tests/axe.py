"""axe-core on a page: what shuts people out of our own elements, counted node by node."""

from __future__ import annotations

from importlib.resources import files

from playwright.sync_api import Page

_RUN = """async (roots) => {
  const found = await axe.run({ include: roots.map((root) => [root]) }, { resultTypes: ['violations'] });
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)}`));
}"""


def violations(page: Page, *roots: str) -> list[str]:
    """Return every violation inside the elements that these selectors name, as "rule: html"."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    return page.evaluate(_RUN, list(roots))
