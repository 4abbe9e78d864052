// A line of numbers, pictures and drawings. The elements stay; only what they show changes, so the page does not jump.
function element(parent, tag, attributes = {}) {
  const node = parent.appendChild(document.createElement(tag));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function render({ model, el }) {
  el.classList.add("slerlib-view", "slerlib-live");
  const line = element(el, "div", { class: "line", role: "status" });
  const pictures = element(el, "div", { class: "pictures" });
  const drawings = element(el, "div", { class: "drawings" });

  function figure(place, shown) {
    const box = pictures.children[place] ?? element(pictures, "figure");
    if (!box.firstChild) {
      element(box, "img");
      const caption = element(box, "figcaption");
      element(caption, "b");
      element(caption, "span");
    }
    const [image, caption] = box.children;
    box.style.setProperty("--wide", `${shown.wide}px`);
    image.width = shown.width;
    image.height = shown.height;
    image.alt = shown.alt;
    const address = URL.createObjectURL(new Blob([shown.data], { type: "image/jpeg" }));
    const old = image.src;
    image.src = address;
    if (old) URL.revokeObjectURL(old);
    caption.children[0].textContent = shown.title;
    caption.children[1].textContent = shown.note;
    return image.decode().catch(() => {}); // a later picture took its place
  }

  async function draw() {
    const frame = model.get("frame");
    if (!frame.number) return;
    line.textContent = frame.line;
    line.classList.toggle("wrong", frame.wrong);
    if (!frame.wrong) {
      while (pictures.children.length > frame.pictures.length) pictures.lastChild.remove();
      drawings.innerHTML = frame.drawings;
      await Promise.all(frame.pictures.map((shown, place) => figure(place, shown)));
    }
    // what the browser has on the screen; a frame whose pictures took longer than the next one does not count
    if (frame === model.get("frame")) el.dataset.frame = frame.number;
  }

  model.on("change:frame", draw);
  draw();
  return () => {
    model.off("change:frame", draw);
    for (const image of pictures.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  };
}
export default { render };
