// A form with data-ask is sent only after a security key has answered what the console asks for it.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

async function asked(form, submitter) {
  const fields = new URLSearchParams(new FormData(form, submitter));
  const reply = await fetch(form.dataset.ask, { method: "POST", body: fields, credentials: "same-origin" });
  const found = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(found.message || "The console did not answer. Open the page again.");
  return found;
}

async function created(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: known(options.excludeCredentials),
    },
  });
  return { attestationObject: text(made.response.attestationObject), of: made };
}

async function confirmed(options) {
  const made = await navigator.credentials.get({
    publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: known(options.allowCredentials) },
  });
  const { authenticatorData, signature } = made.response;
  return { authenticatorData: text(authenticatorData), signature: text(signature), of: made };
}

async function prove(form, submitter) {
  const { challenge, options } = await asked(form, submitter);
  const { of, ...parts } = await (form.dataset.new === undefined ? confirmed(options) : created(options));
  const response = { clientDataJSON: text(of.response.clientDataJSON), ...parts };
  form.elements.challenge.value = challenge;
  form.elements.proof.value = JSON.stringify({
    id: of.id, rawId: text(of.rawId), type: of.type, response, clientExtensionResults: {},
  });
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.ask) return;
  event.preventDefault();
  const trouble = form.querySelector("[data-trouble]");
  trouble.hidden = true;
  try {
    await prove(form, event.submitter);
  } catch (error) {
    const aside = error.name === "NotAllowedError" || error.name === "InvalidStateError";
    trouble.textContent = aside ? "The security key did not confirm. Nothing was decided; try again." : error.message;
    trouble.hidden = false;
    return;
  }
  if (event.submitter && event.submitter.name) {
    const chosen = document.createElement("input");
    Object.assign(chosen, { type: "hidden", name: event.submitter.name, value: event.submitter.value });
    form.append(chosen);
  }
  form.submit();
});
