"use strict";

// The theme, before anything is painted: this script is loaded in the head.
const THEMES = ["system", "light", "dark"];

function readTheme() {
  try {
    const kept = localStorage.getItem("theme");
    return THEMES.includes(kept) ? kept : "system";
  } catch {
    return "system"; // storage is forbidden here: then it holds for this page only
  }
}

function applyTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

applyTheme(readTheme());

// An item's text stands in a frame without scripts, which knows the system's theme alone.
function applyThemeToFrames(theme) {
  const schemes = theme === "system" ? "light dark" : theme;
  for (const frame of document.querySelectorAll("iframe.content"))
    frame.srcdoc = frame.srcdoc.replace(/(<meta name="color-scheme" content=")[^"]*/, `$1${schemes}`);
}

function setUpTheme() {
  const button = document.querySelector("[data-theme-toggle]");
  if (!button) return;
  let theme = readTheme();
  if (theme !== "system") applyThemeToFrames(theme);
  const show = () => { button.querySelector("b").textContent = theme; };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try { localStorage.setItem("theme", theme); } catch { /* see readTheme */ }
    applyTheme(theme);
    applyThemeToFrames(theme);
    show();
  });
}

// Times: "3 min ago" in the text, the viewer's zone and UTC in the title.
const DAY_S = 86400;
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function describeTime(moment, now = new Date()) {
  const seconds = Math.round((moment - now) / 1000);
  const span = Math.abs(seconds);
  if (span >= 7 * DAY_S) return DATE.format(moment);
  if (span >= DAY_S) return describeDays(calendarDay(moment) - calendarDay(now));
  if (span === 0) return "now";
  return seconds > 0 ? `in ${describeSpan(span)}` : `${describeSpan(span)} ago`;
}

// Of less than a day: in hours and minutes up to ten hours, then in hours.
function describeSpan(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return `${seconds} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes >= 600) return `${Math.round(minutes / 60)} h`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

// Of calendar days of the viewer's zone: 26 hours ahead may be tomorrow, or the day after.
function describeDays(days) {
  if (days === 1) return "tomorrow";
  if (days === -1) return "yesterday";
  return days > 0 ? `in ${days} days` : `${-days} days ago`;
}

function calendarDay(moment) {
  return Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate()) / (DAY_S * 1000);
}

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.dataset.utc ??= element.textContent.trim();
    element.title = `${FULL.format(moment)} your time, ${element.dataset.utc}`;
    element.textContent = describeTime(moment);
  }
}

// Buttons that ask first: <button data-confirm="Really?">.
function setUpConfirmation() {
  const dialog = document.getElementById("confirm");
  let asked = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-confirm]");
    if (!button || button === asked) return;
    event.preventDefault();
    event.stopPropagation();
    dialog.querySelector("p").textContent = button.dataset.confirm;
    dialog.querySelector("[value=yes]").textContent = button.textContent.trim();
    dialog.returnValue = "no";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return;
      asked = button;
      button.click();
      asked = null;
    }, { once: true });
  }, true);
}

function setUpMessages() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-dismiss]");
    if (button) button.closest(".message").remove();
  });
}

function showMessage(text) {
  const message = document.createElement("div");
  message.className = "message problem";
  message.setAttribute("role", "alert");
  const held = document.createElement("span");
  held.textContent = text;
  message.append(held);
  document.getElementById("messages").replaceChildren(message);
}

// Times that are typed, as <input type="datetime-local" data-moment="UTC">: the viewer's zone here,
// UTC for the server.
function setUpTypedTimes() {
  for (const input of document.querySelectorAll("input[data-moment]")) {
    const moment = new Date(input.dataset.moment);
    const isSet = !Number.isNaN(moment.getTime());
    const local = new Date(moment - moment.getTimezoneOffset() * 60000);
    input.value = isSet ? local.toISOString().slice(0, 19) : "";
    input.labels[0].querySelector("[data-zone]").textContent = "your time";
  }
  document.addEventListener("formdata", (event) => {
    for (const input of event.target.querySelectorAll("input[data-moment]")) {
      if (input.value) event.formData.set(input.name, new Date(input.value).toISOString());
    }
  });
}

// All boxes of a table at once: <input type="checkbox" data-all="ids"> for those named "ids".
function setUpSelection() {
  // By form, not by place: the boxes of a table with buttons in its rows stand outside of theirs.
  const boxes = (master) => [...document.querySelectorAll(
    `input[type=checkbox][name="${CSS.escape(master.dataset.all)}"]`,
  )].filter((box) => box.form === master.form);
  document.addEventListener("change", (event) => {
    const changed = event.target;
    if (changed.matches("[data-all]")) {
      for (const box of boxes(changed)) box.checked = changed.checked;
    }
    for (const master of document.querySelectorAll("[data-all]")) {
      const all = boxes(master);
      const checked = all.filter((box) => box.checked).length;
      master.checked = all.length > 0 && checked === all.length;
      master.indeterminate = checked > 0 && checked < all.length;
    }
  });
}

// Live parts: not while nobody looks; and the page says so when the server is away.
function setUpLiveParts() {
  const offline = document.getElementById("offline");
  const isPoll = (event) => event.detail.elt.classList.contains("live");
  document.addEventListener("htmx:beforeRequest", (event) => {
    // A part that is in use would lose what is selected, opened or typed in it.
    const part = event.detail.elt;
    const isInUse = part.querySelector(":focus-visible") !== null;
    const isSelected = !getSelection().isCollapsed && part.contains(getSelection().anchorNode);
    if (isPoll(event) && (document.hidden || isInUse || isSelected)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll(".live[hx-get]")) htmx.trigger(part, "refresh");
  });
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, () => { offline.hidden = false; });
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    offline.hidden = true;
    if (xhr.status < 400) return;
    if ((xhr.getResponseHeader("Content-Type") || "").startsWith("text/html")) {
      event.detail.shouldSwap = true;
    } else if (xhr.status !== 401) {
      showMessage(`The server answered with an error (${xhr.status}).`);
    }
  });
  // Before it is painted: a part would flicker each time that it is replaced.
  document.addEventListener("htmx:afterSwap", (event) => prepare(event.target));
  keepFolds();
}

// What a reader has unfolded, or folded, stays so when its live part is replaced.
function keepFolds() {
  const choices = new Map();
  document.addEventListener("click", (event) => {
    const fold = event.target.closest(".live details[id] > summary")?.parentElement;
    if (fold) choices.set(fold.id, !fold.open);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, isOpen] of choices) {
      const fold = document.getElementById(id);
      if (fold) fold.open = isOpen;
    }
  });
}

// g and a letter goes to a page, / searches, ? helps.
function setUpShortcuts() {
  const help = document.getElementById("shortcuts");
  let isGoing = false;
  for (const button of document.querySelectorAll("[data-open]")) {
    button.hidden = false;
    button.addEventListener("click", () => document.getElementById(button.dataset.open).showModal());
  }
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const place = isGoing && document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
    isGoing = event.key === "g";
    const search = event.key === "/" && document.querySelector("input[type=search]");
    if (place) place.click();
    else if (search) focusUnfolded(search);
    else if (event.key === "?") help.showModal();
    else return;
    event.preventDefault();
  });
}

function focusUnfolded(field) {
  const fold = field.closest("details");
  if (fold && !field.checkVisibility()) fold.open = true;
  field.focus();
}

function prepare(root) {
  showTimes(root);
  for (const button of root.querySelectorAll("[data-dismiss]")) button.hidden = false;
}

document.addEventListener("DOMContentLoaded", () => {
  setUpTheme();
  setUpConfirmation();
  setUpMessages();
  setUpSelection();
  setUpTypedTimes();
  setUpLiveParts();
  setUpShortcuts();
  prepare(document);
  setInterval(() => showTimes(document), 10000);
});
