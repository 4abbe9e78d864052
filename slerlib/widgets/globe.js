// The sphere as a globe to turn. Its surface is the part of the sphere that lies in three directions; a point of the
// sphere is drawn at its shadow, inside the globe unless it lies in them. Turning needs no kernel.
const SIDE = 400;
const RADIUS = 165;

function render({ model, el }) {
  el.classList.add("slerlib-canvas");
  const title = el.appendChild(document.createElement("div"));
  title.className = "title";
  const canvas = el.appendChild(document.createElement("canvas"));
  const hint = el.appendChild(document.createElement("div"));
  hint.className = "hint";
  const dense = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = canvas.height = SIDE * dense;
  canvas.style.width = `${SIDE}px`;
  canvas.style.aspectRatio = "1";
  canvas.style.cursor = "grab";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const context = canvas.getContext("2d");
  const small = document.createElement("canvas"); // the cells, at half the density
  const grid = 200;
  small.width = small.height = grid;
  let turn = 0.5;
  let tilt = 0.35;
  let waiting = false;
  let begun = false;

  // rows of the rotation: to the right, up, towards the eye
  function axes() {
    const [c, s, d, e] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    return [[c, -s, 0], [-s * e, -c * e, d], [s * d, c * d, e]];
  }
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

  function cells(scene, rows) {
    const pixels = small.getContext("2d").createImageData(grid, grid);
    const pins = scene.cells.map((pin) => rows.map((row) => dot(row, pin)));
    const colours = scene.cell_colours.map(rgb);
    for (let y = 0; y < grid; y++) {
      for (let x = 0; x < grid; x++) {
        const u = (2 * (x + 0.5)) / grid - 1;
        const v = 1 - (2 * (y + 0.5)) / grid;
        const inside = 1 - u * u - v * v;
        if (inside < 0) continue;
        const w = Math.sqrt(inside);
        let best = -Infinity;
        let second = -Infinity;
        let cell = 0;
        pins.forEach((pin, number) => {
          const near = pin[0] * u + pin[1] * v + pin[2] * w;
          if (near > best) { second = best; best = near; cell = number; } else if (near > second) second = near;
        });
        const at = 4 * (y * grid + x);
        const shade = 0.65 + 0.35 * w;
        for (let c = 0; c < 3; c++) pixels.data[at + c] = colours[cell][c] * shade;
        pixels.data[at + 3] = best - second < 0.02 ? 230 : 105; // the border of two cells is darker
      }
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(small, -RADIUS, -RADIUS, 2 * RADIUS, 2 * RADIUS);
  }

  function lines(rows, ink) { // meridians and parallels, in front only
    context.strokeStyle = ink;
    context.globalAlpha = 0.18;
    context.lineWidth = 1;
    const circle = (place) => {
      context.beginPath();
      let open = false;
      for (let n = 0; n <= 90; n++) {
        const p = place((2 * Math.PI * n) / 90);
        const [x, y, z] = rows.map((row) => dot(row, p));
        if (z >= 0) context[open ? "lineTo" : "moveTo"](RADIUS * x, -RADIUS * y);
        open = z >= 0;
      }
      context.stroke();
    };
    for (let k = 1; k < 6; k++) {
      const [z, r] = [Math.cos((k * Math.PI) / 6), Math.sin((k * Math.PI) / 6)];
      circle((a) => [r * Math.cos(a), r * Math.sin(a), z]);
    }
    for (let k = 0; k < 6; k++) {
      const [c, s] = [Math.cos((k * Math.PI) / 6), Math.sin((k * Math.PI) / 6)];
      circle((a) => [Math.cos(a) * c, Math.cos(a) * s, Math.sin(a)]);
    }
    context.globalAlpha = 1;
  }

  function mark(kind, x, y, size) {
    context.beginPath();
    if (kind === "pin") {
      context.moveTo(x, y - size);
      for (const [u, v] of [[size, 0], [0, size], [-size, 0]]) context.lineTo(x + u, y + v);
      context.closePath();
    } else context.arc(x, y, size, 0, 2 * Math.PI);
  }

  function draw() {
    waiting = false;
    const scene = model.get("scene");
    if (!scene.points) return;
    if (!el.isConnected) return soon(); // it has no colours before it is on the page
    const front = scene.points.find((point) => point.kind === "picture") ?? scene.points[0];
    if (!begun && front) { // begin with this picture in front, a little aside
      turn = Math.atan2(front.at[0], front.at[1]) + 0.35;
      tilt = Math.asin(front.at[2] / (Math.hypot(...front.at) || 1)) * 0.7 + 0.1;
      begun = true;
    }
    const rows = axes();
    const style = getComputedStyle(el);
    const ink = style.color;
    const paper = style.getPropertyValue("--jp-layout-color1").trim() || "white";
    context.setTransform(dense, 0, 0, dense, (SIDE * dense) / 2, (SIDE * dense) / 2);
    context.clearRect(-SIDE, -SIDE, 2 * SIDE, 2 * SIDE);
    if (scene.cells.length) cells(scene, rows);
    lines(rows, ink);
    context.strokeStyle = ink;
    context.globalAlpha = 0.5;
    context.beginPath();
    context.arc(0, 0, RADIUS, 0, 2 * Math.PI);
    context.stroke();
    context.globalAlpha = 1;
    const seen = scene.points.map((point) => {
      const [x, y, z] = rows.map((row) => dot(row, point.at));
      return { ...point, x: RADIUS * x, y: -RADIUS * y, z };
    }).sort((a, b) => a.z - b.z);
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    for (const point of seen) {
      context.globalAlpha = point.z < 0 ? 0.4 : 1;
      const size = point.size * (1 + 0.25 * point.z);
      mark(point.kind, point.x, point.y, size);
      context.lineWidth = point.kind === "anchor" ? 5 : 2;
      context.strokeStyle = point.kind === "anchor" ? ink : paper; // a dark ring is seen on a dark page
      context.stroke();
      context.lineWidth = point.kind === "anchor" ? 3 : 1.2;
      context.strokeStyle = point.kind === "anchor" ? point.colour : ink;
      context.fillStyle = point.colour;
      if (point.kind !== "anchor") context.fill();
      context.stroke();
    }
    for (const point of seen) { // names above all marks
      if (!point.name) continue;
      context.globalAlpha = point.z < 0 ? 0.6 : 1;
      context.lineWidth = 3;
      context.lineJoin = "round";
      context.strokeStyle = paper;
      context.fillStyle = ink;
      const x = Math.min(Math.max(point.x, -SIDE / 2 + 34), SIDE / 2 - 34);
      if (point.z >= 0) context.strokeText(point.name, x, point.y - point.size - 5);
      context.fillText(point.name, x, point.y - point.size - 5);
    }
    context.globalAlpha = 1;
    title.textContent = scene.title;
    hint.textContent = `${scene.hint} Drag or use the arrow keys to turn.`;
    canvas.setAttribute("aria-label", scene.alt);
    el.dataset.drawn = String(Number(el.dataset.drawn ?? 0) + 1);
  }

  function soon() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function by(across, up) {
    turn += across;
    tilt = Math.min(Math.max(tilt + up, -Math.PI / 2), Math.PI / 2);
    soon();
  }
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) by(event.movementX / 130, event.movementY / 130);
  });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    if (!(event.key in moves)) return;
    by(...moves[event.key]);
    event.preventDefault();
    event.stopPropagation(); // keys of the notebook
  });
  model.on("change:scene", soon);
  const themes = new MutationObserver(soon); // the colours of the page changed
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  soon();
  return () => { themes.disconnect(); model.off("change:scene", soon); };
}
export default { render };
