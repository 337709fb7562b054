"use strict";

// Starts Swagger UI on the page /docs, and gives what it sends a key.
const held = document.getElementById("api");
const RENEW_BEFORE_MS = 60000;
let token = null;
let renewAt = 0;

// The API takes no cookie. Who has a session is given a token for a while, and never the key.
async function readToken() {
  if (Date.now() < renewAt) return token;
  const answer = await fetch(held.dataset.token, { redirect: "manual" });
  if (!answer.ok) throw new Error("The session has ended: reload this page to sign in again.");
  const given = await answer.json();
  token = given.token;
  renewAt = Date.now() + given.expires_in_s * 1000 - RENEW_BEFORE_MS;
  return token;
}

async function addKey(request) {
  if (held.dataset.token && !request.loadSpec) {
    request.headers.Authorization = `Bearer ${await readToken()}`;
  }
  return request;
}

// Swagger UI's own dark theme follows the dashboard's.
function followTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    const isDark = (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
    root.classList.toggle("dark-mode", isDark);
  };
  follow();
  system.addEventListener("change", follow);
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
}

followTheme();
SwaggerUIBundle({
  url: held.dataset.document,
  domNode: held,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  requestInterceptor: addKey,
  validatorUrl: null,
});
