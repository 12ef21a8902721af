// Passkeys, where the browser knows them. Without this script the page works by password.
"use strict";

(() => {
  const api = globalThis.PublicKeyCredential;
  if (!api?.parseRequestOptionsFromJSON || !api?.parseCreationOptionsFromJSON) return;

  const ways = {
    get: (options) => navigator.credentials.get({ publicKey: api.parseRequestOptionsFromJSON(options) }),
    create: (options) => navigator.credentials.create({ publicKey: api.parseCreationOptionsFromJSON(options) }),
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const problem = form.querySelector("[data-problem]");
    form.hidden = false;
    for (const part of document.querySelectorAll("[data-with-passkeys]")) part.hidden = false;
    for (const part of document.querySelectorAll("[data-without-passkeys]")) part.hidden = true;
    form.addEventListener("submit", async (event) => {
      if (form.elements.passkey_credential.value) return;
      event.preventDefault();
      problem.hidden = true;
      try {
        const credential = await ways[form.dataset.passkey](JSON.parse(form.dataset.options));
        form.elements.passkey_credential.value = JSON.stringify(credential.toJSON());
        form.requestSubmit();
      } catch (error) {
        problem.textContent = error.name === "InvalidStateError"
          ? "This device has a passkey for your account already."
          : "No passkey was used. Try again, or use your password.";
        problem.hidden = false;
      }
    });
  }
})();
