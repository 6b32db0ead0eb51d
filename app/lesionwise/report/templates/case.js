// The viewer of a case: two linked panes, of which the right one fades from time 1 to time 2.
const byId = (id) => document.getElementById(id);
const outlines = byId("show-outlines");
if (outlines) {
  outlines.closest(".controls").hidden = false;
  outlines.onchange = () => document.body.classList.toggle("without-outlines", !outlines.checked);
}

const OPACITY = { mask: 0.5, probability: 0.7 };
const colour = (name) => {
  const code = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  return [1, 3, 5].map((at) => parseInt(code.slice(at, at + 2), 16));
};
// From one colour to another; what is 0 is not shown, and black, for it would tint edges.
const colormap = (low, high) => {
  const [R, G, B] = [0, 1, 2].map((k) => [0, colour(low)[k], colour(high)[k]]);
  return { R, G, B, A: [0, 255, 255], I: [0, 1, 255] };
};

const bytes = (id) => Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));

async function loadNiivue() {
  const stream = new Blob([bytes("niivue")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const url = URL.createObjectURL(new Blob([await new Response(stream).arrayBuffer()], { type: "text/javascript" }));
  return (await import(url)).Niivue;
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
  const Niivue = await loadNiivue();
  byId("viewer").hidden = false;
  const url = (name) => URL.createObjectURL(new Blob([bytes("volume-" + name)]));
  const scan = (name) => ({ url: url(name), name: name + ".nii.gz", colormap: "gray", cal_min: 0, cal_max: 255 });
  const overlays = () => [
    { url: url("mask"), name: "mask.nii.gz", colormap: "lesion", cal_min: 0.5, cal_max: 1, opacity: OPACITY.mask },
    { url: url("probability"), name: "probability.nii.gz", colormap: "blues", cal_min: 12, cal_max: 255, opacity: 0 },
  ];
  const views = [];
  for (const [canvas, volumes] of [["view1", [scan("time1")]], ["view2", [scan("time1"), scan("time2")]]]) {
    const view = new Niivue({ show3Dcrosshair: false, isRadiologicalConvention: true, sagittalNoseLeft: true,
      backColor: [0, 0, 0, 1], crosshairColor: [...colour("crosshair").map((level) => level / 255), 0.9], crosshairWidth: 1, loadingText: "",
      crosshairGap: 12, // of its own half width, a voxel's: it stops short of the small lesion that it is on
      dragMode: 0, // else the right button drags the contrast of time 1 alone, and nothing brings it back
      multiplanarShowRender: 0, viewModeHotKey: "", clipPlaneHotKey: "", logLevel: "error" });
    await view.attachToCanvas(byId(canvas));
    view.addColormap("lesion", colormap("lesion", "lesion"));
    view.addColormap("blues", colormap("probability-low", "probability-high"));
    await view.loadVolumes([...volumes, ...overlays()]);
    views.push(view);
  }
  const [first, second] = views;
  first.broadcastTo([second], { "2d": true, "3d": true });
  second.broadcastTo([first], { "2d": true, "3d": true });

  const overlay = (name, opacity) => {
    for (const view of views) view.setOpacity(view.volumes.findIndex((v) => v.name.startsWith(name)), opacity);
  };
  const fade = byId("fade");
  fade.oninput = () => {
    second.setOpacity(1, fade.value / 100);
    byId("label2").textContent = fade.value === "100" ? "Time 2" : fade.value === "0" ? "Time 1" : `${fade.value} % time 2 over time 1`;
  };
  byId("show-mask").onchange = (event) => overlay("mask", event.target.checked ? OPACITY.mask : 0);
  byId("show-probability").onchange = (event) => overlay("probability", event.target.checked ? OPACITY.probability : 0);
  byId("planes").onchange = (event) => views.forEach((view) => view.setSliceType(Number(event.target.value)));

  const rows = [...document.querySelectorAll("tr[data-point]")];
  const pointOf = (row) => JSON.parse(row.dataset.point);
  const tell = (mm, row) => {
    rows.forEach((other) => other.classList.toggle("chosen", other === row));
    byId("location").textContent = `${row ? `lesion ${row.dataset.lesion}: ` : ""}${mm.map((x) => x.toFixed(1)).join(", ")} mm`;
  };
  const goTo = (row) => {
    for (const view of views) {
      view.scene.crosshairPos = view.mm2frac(pointOf(row), 0, true); // by the affine: without it an oblique scan counts as upright
      view.drawScene();
    }
    tell(pointOf(row), row);
  };
  const moved = (view) => {
    const mm = [...view.frac2mm(view.scene.crosshairPos, 0, true)].slice(0, 3);
    tell(mm, rows.find((row) => Math.hypot(...pointOf(row).map((x, k) => x - mm[k])) < 0.1));
  };
  const steps = { h: [-1, 0, 0], l: [1, 0, 0], j: [0, -1, 0], k: [0, 1, 0], pagedown: [0, 0, -1], pageup: [0, 0, 1] };
  for (const view of views) {
    view.onLocationChange = () => moved(view);
    view.canvas.parentElement.addEventListener("keydown", (event) => {
      event.stopPropagation(); // before NiiVue, which hears keys only under the mouse, and has some of its own: M is for other drags
      const step = steps[event.key.toLowerCase()];
      if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      view.moveCrosshairInVox(...step);
    }, { capture: true });
  }
  rows.forEach((row) => {
    row.onclick = (event) => {
      const link = event.target.closest("a");
      if (!link && String(getSelection())) return; // a text was marked, to be copied
      event.preventDefault(); // a link goes to the still picture, where there is no viewer
      goTo(row);
      if (link && event.detail === 0) second.canvas.focus({ preventScroll: true }); // by a key: the next ones move the viewer
      byId("viewer-section").scrollIntoView({ block: "start" });
    };
  });
  document.body.classList.add("with-viewer");
  if (rows.length) goTo(rows[0]);
  window.lesionwiseViewer = { views };
  byId("viewer-message").hidden = true;
}

if (byId("niivue")) {
  byId("viewer-message").hidden = false;
  start().catch((error) => {
    byId("viewer").hidden = true;
    byId("viewer-message").textContent = `The viewer could not start (${error.message}); the pictures below need none.`;
  });
}
