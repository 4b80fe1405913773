import { requestBody } from "../client/settings.js";
import { html, useState } from "../html.js";

const LANGUAGES = { curl, Python: python };

/** The form's current request as code. */
export function CodeSnippet({ settings, card }) {
  const [language, setLanguage] = useState("curl");
  const [copied, setCopied] = useState("");
  const code = LANGUAGES[language](requestBody(settings, card), location.origin);
  const copy = () => navigator.clipboard.writeText(code).then(() => setCopied(code));
  return html`<details class="snippet">
    <summary>This request as code</summary>
    <div class="snippet-bar">
      ${Object.keys(LANGUAGES).map((name) => html`<button type="button" class="text-button" aria-pressed=${String(name === language)}
        onClick=${() => setLanguage(name)}>${name}</button>`)}
      ${navigator.clipboard && html`<button type="button" class="text-button copy" onClick=${copy}>
        ${copied === code ? "Copied" : "Copy"}</button>`}
    </div>
    <pre tabindex="0" aria-label=${`Request in ${language}`}><code>${code}</code></pre>
  </details>`;
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(json, origin) {
  return `curl --json ${shellQuoted(json)} \\\n  -H 'Prefer: wait=60' ${origin}/generate`;
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
