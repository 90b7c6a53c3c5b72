// The key of a server that asks for one: typed once, kept in this tab, sent in a header and never in an address.
//
// sessionStorage belongs to this host and this port alone; a cookie would go to every server on this machine.

const TEXTS = {
  en: {
    heading: "This server asks for a key",
    hint: "It begins with sk-denken-. Whoever runs the server makes one with: denken keys create NAME",
    wrong: "This key is not in use. Type another one.",
    label: "Key",
    send: "Use it",
    cancel: "Cancel",
  },
  de: {
    heading: "Dieser Server verlangt einen Schlüssel",
    hint: "Er beginnt mit sk-denken-. Wer den Server betreibt, macht einen mit: denken keys create NAME",
    wrong: "Dieser Schlüssel gilt nicht. Gib einen anderen ein.",
    label: "Schlüssel",
    send: "Verwenden",
    cancel: "Abbrechen",
  },
};

const say = TEXTS[(navigator.language || "en").toLowerCase().startsWith("de") ? "de" : "en"];
const NAME = "denken-key";
let asking = null; // the dialogue that is open, for everything that waits for a key

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Asks for a key; true once there is one to try, false if the reader would rather not. */
function askForKey(wasWrong) {
  const dialog = element("dialog", "", { class: "key" });
  const form = element("form");
  const label = element("label", say.label);
  const input = element("input", "", {
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: "",
    pattern: "[!-~]{1,200}",
  });
  const row = element("div", "", { class: "row" });
  const cancel = element("button", say.cancel, { type: "button" });
  label.append(input);
  row.append(cancel, element("button", say.send, { type: "submit", class: "main" }));
  form.append(element("h2", say.heading), element("p", wasWrong ? say.wrong : say.hint), label, row);
  dialog.append(form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let given = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, input.value);
      given = true;
      dialog.close();
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    dialog.showModal();
  });
}

/** As `fetch`, with the key where there is one; asks for it where the server does. */
export async function fetchWithKey(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(NAME);
    const headers = new Headers(options.headers);
    if (key !== null) headers.set("Authorization", `Bearer ${key}`);
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    if (sessionStorage.getItem(NAME) !== key) continue; // another question has got one meanwhile
    asking ??= askForKey(key !== null).finally(() => (asking = null));
    if (!(await asking)) return response;
  }
}
