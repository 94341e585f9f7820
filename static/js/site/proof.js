// The dialog in which a browser whose log-in is old proves who uses it, before a form that needs it is sent again.

const PROVED = "proved";

/** Show the server's form, and send what is entered with `send` until it is accepted. Resolves to whether it was. */
export function askForProof(form, send) {
  const dialog = document.getElementById("proof-dialog");
  if (!dialog) return Promise.resolve(false);
  dialog.returnValue = "";
  dialog.showModal();
  showForm(dialog, form, send);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === PROVED), { once: true });
  });
}

function showForm(dialog, form, send) {
  dialog.querySelector("[data-slot]").replaceChildren(form);
  form.querySelector(".input").focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sendProof(dialog, form, send);
  });
}

async function sendProof(dialog, form, send) {
  try {
    await send(new FormData(form));
    dialog.close(PROVED);
  } catch (refusal) {
    if (refusal.form) showForm(dialog, refusal.form, send);
    else form.querySelector("[data-error]").textContent = refusal.message;
  }
}
