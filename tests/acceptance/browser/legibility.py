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

# Where a box hides what does not fit, without a "…" that says so.
_FIND_CUT = """() => {
  const found = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    if (!element.checkVisibility() || element.closest(".unseen, .excerpt, svg, iframe, noscript"))
      continue;
    const style = getComputedStyle(element);
    if (style.textOverflow === "ellipsis") continue;
    const isCut = (style.overflowX === "hidden" && element.scrollWidth > element.clientWidth + 1)
      || (style.overflowY === "hidden" && element.scrollHeight > element.clientHeight + 2);
    const isSeen = element.clientWidth > 1 && element.innerText && element.innerText.trim();
    if (isCut && isSeen) found.push(`"${element.innerText.trim().slice(0, 40)}" is cut`);
  }
  return found;
}"""

# Only what is seen of a text counts. Lines of one paragraph may touch.
_FIND_OVERLAPPING = """() => {
  const seen = [], found = new Set();
  const clip = (rect, element) => {
    let {left, top, right, bottom} = rect;
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflowX === "visible") continue;
      const box = at.getBoundingClientRect();
      left = Math.max(left, box.left), right = Math.min(right, box.right);
      top = Math.max(top, box.top), bottom = Math.min(bottom, box.bottom);
    }
    return {left, top, right, bottom};
  };
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, element = node.parentElement, text = node.data.trim();
    if (!text || !element.checkVisibility()) continue;
    if (element.closest(".unseen, svg, noscript, .plot")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const whole of range.getClientRects()) {
      const rect = clip(whole, element);
      if (rect.right - rect.left > 1 && rect.bottom > rect.top)
        seen.push({...rect, node, text: text.slice(0, 30)});
    }
  }
  seen.sort((a, b) => a.top - b.top);
  seen.forEach((one, at) => {
    for (let next = at + 1; next < seen.length && seen[next].top < one.bottom - 5; next++) {
      const other = seen[next];
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      if (other.node !== one.node && across > 2 && other.bottom - other.top > 5)
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
