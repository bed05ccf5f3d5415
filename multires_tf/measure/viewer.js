// The page's slice viewer: every image shows the same voxel in the same plane.
// Volumes are int16 in steps of `step`, x fastest, then y, then z; x grows to the patient's left,
// y to the back, z to the head (viewer.py).
"use strict";
(() => {
  // Of each plane the axis across it, the axis shown from left to right and that from top to bottom.
  const PLANES = {
    axial: { across: 2, right: 0, down: 1 },
    coronal: { across: 1, right: 0, down: 2 },
    sagittal: { across: 0, right: 1, down: 2 },
  };
  const HEAD_UP = 2;
  const SIDES = { axial: ["R", "L"], coronal: ["R", "L"], sagittal: ["front", "back"] };
  const WINDOWS_HU = { soft: [-160, 240], bone: [-500, 1300], lung: [-1350, 150] };
  const STRIDES = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  const BLANK_RGB = [241, 243, 245];
  const OVERLAY_SHARE = 0.65;

  const section = document.getElementById("viewer");
  const form = section.querySelector("form");
  const controls = form.elements;
  const stage = section.querySelector(".views");
  const status = section.querySelector("[role=status]");
  const content = JSON.parse(document.getElementById("viewer-data").textContent);
  const { looks, colours, subjects, blank } = content;
  const views = [];
  let subject, volumes, voxel;

  const plane = () => PLANES[controls.plane.value];
  const isCt = (key) => key === "ct" || key === "pct";
  const carriesOverlay = (key) => key === "mr" || isCt(key);
  const minus = (text) => String(text).replace("-", "−");

  function range(key) {
    return (isCt(key) && WINDOWS_HU[controls.window.value]) || [looks[key].low, looks[key].high];
  }

  function element(name, parent, properties = {}) {
    const made = Object.assign(document.createElement(name), properties);
    parent.append(made);
    return made;
  }

  async function unpack(base64) {
    const zipped = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Int16Array(await new Response(stream).arrayBuffer());
  }

  function addView(key) {
    const figure = element("figure", stage);
    const frame = element("div", figure, { className: "frame" });
    const canvas = element("canvas", frame);
    canvas.setAttribute("role", "img");
    const [vertical, horizontal] = ["vertical", "horizontal"].map((className) => element("i", frame, { className }));
    const sides = ["start", "end"].map((className) => element("span", frame, { className }));
    const caption = element("figcaption", figure);
    element("b", caption, { textContent: looks[key].title });
    const value = element("span", caption);
    const bar = element("i", caption);
    bar.style.background = `linear-gradient(to right, ${colours[looks[key].colours].map((rgb) => `rgb(${rgb})`)})`;
    const limits = element("small", caption);
    frame.addEventListener("click", (event) => place(frame, event));
    views.push({ key, canvas, vertical, horizontal, sides, value, limits });
  }

  // Writes the colour of a stored value into `out`.
  function colour(key, stored, [low, high], out) {
    const map = colours[looks[key].colours];
    const place = (stored * looks[key].step - low) / (high - low);
    const rgb = stored === blank ? BLANK_RGB : map[Math.max(0, Math.min(255, Math.floor(256 * place)))];
    out[0] = rgb[0]; out[1] = rgb[1]; out[2] = rgb[2];
  }

  function paint({ key, canvas }) {
    const { across, right, down } = plane();
    const strides = [1, subject.size[0], subject.size[0] * subject.size[1]];
    const [width, height] = [subject.size[right], subject.size[down]];
    const over = carriesOverlay(key) && volumes[controls.overlay.value];
    const overKey = controls.overlay.value, threshold = controls.threshold.valueAsNumber;
    const [ownRange, overRange] = [range(key), over && range(overKey)];
    const [rgb, overRgb] = [[0, 0, 0], [0, 0, 0]];
    Object.assign(canvas, { width, height });
    const image = new ImageData(width, height);
    for (let row = 0, at = 0; row < height; row++) {
      const line = down === HEAD_UP ? height - 1 - row : row;
      for (let column = 0; column < width; column++, at += 4) {
        const index = voxel[across] * strides[across] + line * strides[down] + column * strides[right];
        colour(key, volumes[key][index], ownRange, rgb);
        const covered = over && over[index] !== blank && over[index] * looks[overKey].step >= threshold;
        if (covered) colour(overKey, over[index], overRange, overRgb);
        for (let i = 0; i < 3; i++) {
          image.data[at + i] = covered ? rgb[i] + OVERLAY_SHARE * (overRgb[i] - rgb[i]) : rgb[i];
        }
        image.data[at + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function valueAt(key) {
    const [x, y, z] = voxel;
    const stored = volumes[key][x + subject.size[0] * (y + subject.size[1] * z)];
    const { step, digits, unit } = looks[key];
    return stored === blank ? "–" : `${minus((stored * step).toFixed(digits))} ${unit}`;
  }

  // Draws everything from the controls and the voxel; nothing else draws.
  function show() {
    const { across, right, down } = plane();
    const words = `${voxel[across] + 1} of ${subject.size[across]}`;
    const where = `${controls.plane.value} slice ${words}`;
    controls.slice.max = subject.size[across];
    controls.slice.value = voxel[across] + 1;
    controls.slice.setAttribute("aria-valuetext", words);
    controls.shown.value = words;
    controls.above.value = `${controls.threshold.value} HU`;
    const [width, height] = [right, down].map((axis) => subject.size[axis] * subject.spacing_mm[axis]);
    stage.style.setProperty("--aspect", width / height);
    stage.style.setProperty("--narrowest", `${Math.max(9.5, Math.min(17, 17 * width / height))}rem`);
    const [left, top] = [right, down].map((axis) => (100 * (voxel[axis] + 0.5)) / subject.size[axis]);
    for (const view of views) {
      const [low, high] = range(view.key);
      paint(view);
      view.vertical.style.left = `${left}%`;
      view.horizontal.style.top = `${down === HEAD_UP ? 100 - top : top}%`;
      view.sides.forEach((side, i) => { side.textContent = SIDES[controls.plane.value][i]; });
      view.value.textContent = valueAt(view.key);
      view.limits.textContent = `${minus(low)} to ${minus(high)} ${looks[view.key].unit}`;
      view.canvas.setAttribute("aria-label", `${looks[view.key].title} of ${subject.name}, ${where}`);
    }
    const read = views.map(({ key, value }) => `${looks[key].title} ${value.textContent}`);
    status.textContent = `${where}; at the cross: ${read.join(", ")}`;
  }

  async function showSubject() {
    const chosen = subjects[controls.subject.value];
    const entries = Object.entries(chosen.volumes).map(async ([key, text]) => [key, await unpack(text)]);
    const unpacked = Object.fromEntries(await Promise.all(entries));
    if (chosen !== subjects[controls.subject.value]) return; // another was chosen meanwhile
    [subject, volumes, voxel] = [chosen, unpacked, [...chosen.start]];
    show();
  }

  function moveTo(axis, index) {
    voxel[axis] = Math.max(0, Math.min(subject.size[axis] - 1, index));
  }

  function scrollTo(slice) {
    moveTo(plane().across, slice);
    show();
  }

  function place(frame, event) {
    const { right, down } = plane();
    const box = frame.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    moveTo(right, Math.floor(x * subject.size[right]));
    moveTo(down, Math.floor((down === HEAD_UP ? 1 - y : y) * subject.size[down]));
    show();
  }

  function onKey(event) {
    const { across } = plane();
    const ends = { Home: 0, End: subject.size[across] - 1 };
    const slice = ends[event.key] ?? voxel[across] + STRIDES[event.key];
    if (Number.isNaN(slice) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    scrollTo(slice);
  }

  function onWheel(event) {
    if (event.ctrlKey || !event.deltaY) return;
    event.preventDefault();
    scrollTo(voxel[plane().across] - Math.sign(event.deltaY));
  }

  function fillControls() {
    subjects.forEach(({ name, remark }, value) =>
      element("option", controls.subject, { value, textContent: `${name} (${remark})` }));
    for (const value of content.overlays) {
      element("option", controls.overlay, { value, textContent: looks[value].title });
    }
    const last = content.overlays.at(-1);
    for (const name of ["overlay", "threshold"]) controls[name].closest("label").hidden = !last;
    if (!last) return;
    controls.overlay.value = last;
    controls.threshold.max = looks[last].high;
    controls.threshold.value = looks[last].high / 2;
  }

  async function start() {
    fillControls();
    content.views.forEach(addView);
    await showSubject();
    form.hidden = stage.hidden = false;
    controls.slice.addEventListener("input", () => scrollTo(controls.slice.valueAsNumber - 1));
    controls.subject.addEventListener("change", () => showSubject().catch(giveUp));
    form.addEventListener("change", show);
    controls.threshold.addEventListener("input", show);
    stage.addEventListener("keydown", onKey);
    stage.addEventListener("wheel", onWheel, { passive: false });
    section.dataset.ready = "true";
  }

  function giveUp(error) {
    form.hidden = stage.hidden = true;
    status.textContent = `The viewer could not go on (${error.message}); look at the pictures below.`;
  }

  start().catch(giveUp);
})();
