import { html, useState } from "../html.js";
import { body } from "../client/settings.js";

const LANGUAGES = { curl, Python: python };

/** What the form would send, in the words of a shell and of Python; it changes as the form does. */
export function Snippet({ settings, card }) {
  const [language, setLanguage] = useState("curl");
  const [copied, setCopied] = useState("");
  const text = LANGUAGES[language](body(settings, card), location.origin);
  const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(text));
  return html`<details class="snippet">
    <summary>The same as code</summary>
    <div class="snippet-bar">
      ${Object.keys(LANGUAGES).map((name) => html`<button type="button" class="quiet" aria-pressed=${String(name === language)}
        onClick=${() => setLanguage(name)}>${name}</button>`)}
      ${navigator.clipboard && html`<button type="button" class="quiet copy" onClick=${copy}>
        ${copied === text ? "Copied" : "Copy"}</button>`}
    </div>
    <pre tabindex="0" aria-label=${`As ${language}`}><code>${text}</code></pre>
  </details>`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(json, origin) {
  return `curl --json ${quoted(json)} \\\n  -H 'Prefer: wait=60' ${origin}/generate`;
}

function python(json, origin) {
  return `import requests

url = "${origin}"
job = requests.post(
    f"{url}/generate",
    json=${json},
    headers={"Prefer": "wait=60"},
).json()
for k, image in enumerate(job["urls"]["images"]):
    with open(f"{k}.png", "wb") as file:
        file.write(requests.get(url + image).content)`;
}
