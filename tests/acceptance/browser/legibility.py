"""Whether text can be read: its contrast, as WCAG 2.2 computes it (success criterion 1.4.3);
whether its words are whole, where no column is so narrow that they fall apart; and whether it is
neither cut nor covered by other text."""

from playwright.sync_api import Page

_FIND = """() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const read = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest("svg, :disabled")) continue;
    const style = getComputedStyle(element);
    const [one, other] = [read(style.color), ground(element)].map(light).sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (isLarge ? 3 : 4.5))
      found.add(`contrast ${contrast.toFixed(2)} of "${text.slice(0, 40)}"`);
  }
  return [...found];
}"""


# A line holds fewer letters than most words have, and there are many of them.
_FIND_SQUEEZED = """() => {
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest("svg, .unseen")) continue;
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const lines = new Set([...range.getClientRects()].map((each) => Math.round(each.top))).size;
    if (lines > 2 && text.length / lines < 7)
      found.push(`"${text.slice(0, 40)}" is broken into ${lines} lines`);
  }
  return found;
}"""

# Where a box hides what does not fit. Cut on purpose: "excerpt" (a few lines of many, the rest is
# one click away), and what only screen readers are meant to read.
_FIND_CUT = """() => {
  const found = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    if (!element.checkVisibility() || element.closest(".unseen, .excerpt, svg, iframe, noscript"))
      continue;
    const style = getComputedStyle(element);
    const isCut = (style.overflowX === "hidden" && element.scrollWidth > element.clientWidth + 1)
      || (style.overflowY === "hidden" && element.scrollHeight > element.clientHeight + 2);
    const isSeen = element.clientWidth > 1 && element.innerText && element.innerText.trim();
    if (isCut && isSeen) found.push(`"${element.innerText.trim().slice(0, 40)}" is cut`);
  }
  return found;
}"""

# Lines of one paragraph may touch; the bar at a phone's edge covers what is scrolled below it.
_FIND_OVERLAPPING = """() => {
  const rects = [], found = new Set();
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(".unseen, svg, noscript, .plot")) continue;
    const clip = element.closest(".excerpt, .document, .table");
    const box = clip ? clip.getBoundingClientRect() : null;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      if (box && (rect.bottom > box.bottom + 1 || rect.right > box.right + 1)) continue;
      if (rect.width > 1) rects.push({rect, node, text: node.data.trim().slice(0, 30)});
    }
  }
  rects.sort((a, b) => a.rect.top - b.rect.top);
  rects.forEach((one, at) => {
    for (let next = at + 1; next < rects.length; next++) {
      const other = rects[next];
      if (other.rect.top > one.rect.bottom - 5) break;
      const across = Math.min(one.rect.right, other.rect.right)
        - Math.max(one.rect.left, other.rect.left);
      const down = Math.min(one.rect.bottom, other.rect.bottom) - other.rect.top;
      if (other.node !== one.node && across > 2 && down > 5)
        found.add(`"${one.text}" and "${other.text}" overlap`);
    }
  });
  return [...found];
}"""


def find_cut(page: Page) -> list[str]:
    """Return the texts of a page that a box hides a part of."""
    return [str(found) for found in page.evaluate(_FIND_CUT)]


def find_overlapping(page: Page) -> list[str]:
    """Return the pairs of texts in a page's main part that lie over one another."""
    return [str(found) for found in page.evaluate(_FIND_OVERLAPPING)]


def find_squeezed(page: Page) -> list[str]:
    """Return the texts of a page that have so little room that their words are broken."""
    return [str(found) for found in page.evaluate(_FIND_SQUEEZED)]


def find_illegible(page: Page) -> list[str]:
    """Return the texts of a page that stand out too little from what is behind them."""
    return [str(found) for found in page.evaluate(_FIND)]
