// A photograph to paint on: the mask goes to the kernel, the damaged photograph comes back under the brush.
function render({ model, el }) {
  el.classList.add("slerlib-canvas");
  const title = el.appendChild(document.createElement("div"));
  title.className = "title";
  title.textContent = "paint damage here";
  const canvas = el.appendChild(document.createElement("canvas"));
  const hint = el.appendChild(document.createElement("div"));
  hint.className = "hint";
  hint.textContent = "Drag to paint, with Shift to clean. Keys: arrows move, Space paints, Backspace cleans.";
  const context = canvas.getContext("2d");
  const image = new Image();
  let [rows, columns] = model.get("size");
  let mask = new Uint8Array(rows * columns);
  let place = [columns / 2, rows / 2];
  let before = null;
  let inside = false;
  let own = false;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");

  function fit() {
    [rows, columns] = model.get("size");
    const scale = 320 / Math.max(rows, columns);
    canvas.width = Math.round(columns * scale);
    canvas.height = Math.round(rows * scale);
  }

  function take() { // a mask of the kernel: a button cleared it, or another picture came
    if (own) return;
    const value = model.get("value");
    fit();
    if (value.byteLength === rows * columns) mask = new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    draw();
  }

  function draw() {
    const scale = canvas.width / columns;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (image.naturalWidth) context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.lineWidth = 2;
    for (const [colour, wider] of [["#000", 1], ["#fff", 0]]) {
      if (!inside && document.activeElement !== canvas) break;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(place[0] * scale, place[1] * scale, model.get("radius") * scale + wider, 0, 2 * Math.PI);
      context.stroke();
    }
    const share = mask.reduce((sum, value) => sum + value, 0) / 255 / mask.length;
    canvas.setAttribute("aria-label", `Photograph to paint on; ${Math.round(100 * share)} % are painted. ` +
      `Arrows move the brush, Space paints, Backspace cleans.`);
  }

  function dab(x, y, value) {
    const radius = model.get("radius");
    for (let v = Math.max(0, Math.floor(y - radius)); v < Math.min(rows, y + radius + 1); v++) {
      for (let u = Math.max(0, Math.floor(x - radius)); u < Math.min(columns, x + radius + 1); u++) {
        if (Math.hypot(u + 0.5 - x, v + 0.5 - y) <= radius) mask[v * columns + u] = value;
      }
    }
  }

  function stroke(to, value) {
    const from = before ?? to;
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let n = 0; n <= steps; n++) {
      dab(from[0] + ((to[0] - from[0]) * n) / steps, from[1] + ((to[1] - from[1]) * n) / steps, value);
    }
    before = to;
    own = true;
    model.set("value", new DataView(mask.slice().buffer));
    own = false;
    model.save_changes(); // while the kernel works only the newest mask waits
    draw();
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * columns, ((event.clientY - box.top) / box.height) * rows];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    before = null;
    place = point(event);
    stroke(place, event.shiftKey ? 0 : 255);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    inside = true;
    place = point(event);
    if (event.buttons) stroke(place, event.shiftKey ? 0 : 255);
    else draw();
  });
  canvas.addEventListener("pointerleave", () => { inside = false; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = Math.max(rows, columns) / 16;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) {
      place = [Math.min(Math.max(place[0] + moves[event.key][0], 0), columns),
        Math.min(Math.max(place[1] + moves[event.key][1], 0), rows)];
      draw();
    } else if (event.key === " " || event.key === "Backspace") {
      before = null;
      stroke(place, event.key === " " ? 255 : 0);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // keys of the notebook
  });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);
  image.addEventListener("load", () => { draw(); el.dataset.photo = String(Number(el.dataset.photo ?? 0) + 1); });

  function photograph() {
    const data = model.get("photo");
    if (!data.byteLength) return;
    const old = image.src;
    image.src = URL.createObjectURL(new Blob([data], { type: "image/jpeg" }));
    if (old) URL.revokeObjectURL(old);
  }
  model.on("change:photo", photograph);
  model.on("change:size", take);
  model.on("change:value", take);
  model.on("change:radius", draw);
  take();
  photograph();
  return () => URL.revokeObjectURL(image.src);
}
export default { render };
