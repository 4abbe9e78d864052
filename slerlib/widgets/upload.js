// A file of the reader, sent in pieces: a message of more than 10 MB would close the connection to the kernel.
const PIECE = 1 << 20;

function render({ model, el }) {
  el.classList.add("slerlib-upload");
  const label = el.appendChild(document.createElement("label"));
  label.textContent = `${model.get("description")} `;
  const input = label.appendChild(document.createElement("input"));
  input.type = "file";
  input.accept = "image/*,.heic,.heif,.tif,.tiff";
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    if (file.size > model.get("most")) {
      model.send({ kind: "large", name: file.name, size: file.size });
    } else {
      const bytes = await file.arrayBuffer();
      model.send({ kind: "begin", name: file.name, size: file.size });
      for (let at = 0; at < bytes.byteLength; at += PIECE) {
        model.send({ kind: "piece" }, undefined, [bytes.slice(at, at + PIECE)]);
      }
      model.send({ kind: "end" });
    }
    input.value = ""; // so that the same file can be chosen again
  });
}
export default { render };
