"use strict";

const element = id => document.getElementById(id);
let dropped = [];

// start unpacks the verifier that the page holds, and runs it.
async function start() {
  const text = element("program").textContent;
  const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const go = new Go();
  const { instance } = await WebAssembly.instantiate(bytes, go.importObject);
  go.run(instance);
  element("files").disabled = false;
  element("state").textContent = "Ready.";
}

// take reads files, keeps their contents, and verifies them.
async function take(list) {
  if (list.length === 0) return;
  dropped = await Promise.all([...list].map(async f => ({ name: f.name, data: new Uint8Array(await f.arrayBuffer()) })));
  verify();
}

// verify shows the report of the files that were dropped last.
function verify() {
  if (dropped.length === 0 || typeof holdfastVerify === "undefined") return;
  const answer = holdfastVerify(dropped, {
    atDocumentTime: element("archived").checked,
    nonce: element("nonce").value.trim(),
    release: element("release").value.trim(),
    measurements: element("measurements").value,
  });
  element("error").hidden = !answer.error;
  element("error").textContent = answer.error || "";
  // The verifier escapes whatever comes from the files, and the page's policy
  // runs no script but its own.
  element("report").innerHTML = answer.html || "";
  element("state").textContent = dropped.map(f => f.name).join(", ");
}

element("files").addEventListener("change", event => take(event.target.files));
for (const id of ["archived", "nonce", "release", "measurements"]) {
  element(id).addEventListener("change", verify);
}
element("wrap").addEventListener("change", event => { element("measurements-label").hidden = !event.target.checked; });
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, event => { event.preventDefault(); element("drop").classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  addEventListener(name, event => { event.preventDefault(); element("drop").classList.remove("over"); });
}
addEventListener("drop", event => take(event.dataTransfer.files));

start().catch(error => {
  element("error").hidden = false;
  element("error").textContent = "The verifier did not start: " + error;
});
