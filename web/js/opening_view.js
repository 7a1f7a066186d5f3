// Opens this pack's graphs where they can be read: whole, or at their beginning where the window is too small for the
// whole. The front end shows a template whole, however small that makes it, and a file as it was saved on another screen.

import { app } from "../../../scripts/app.js";

const MARK = "image-prompt-adapter";
const BARS = { left: 76, top: 96, right: 20, bottom: 28 }; // pixels of the canvas that the front end's bars lie over
const SMALLEST = 0.6; // of the canvas' scale: somewhat below it the canvas leaves out all texts
const TITLE = 30; // a node's title bar stands above its position

function extent({ nodes, groups }) {
  const boxes = [
    ...nodes.map(({ pos, size }) => [pos[0], pos[1] - TITLE, pos[0] + size[0], pos[1] + size[1]]),
    ...groups.map(({ pos, size }) => [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]]),
  ];
  const edge = (which, axis) => which(...boxes.map((box) => box[axis]));
  return { x: edge(Math.min, 0), y: edge(Math.min, 1), right: edge(Math.max, 2), bottom: edge(Math.max, 3) };
}

function show(canvas, { x, y, right, bottom }) {
  const { clientWidth, clientHeight } = canvas.canvas;
  const width = clientWidth - BARS.left - BARS.right;
  const height = clientHeight - BARS.top - BARS.bottom;
  const scale = Math.max(SMALLEST, Math.min(1, width / (right - x), height / (bottom - y)));
  canvas.ds.scale = scale;
  canvas.ds.offset = [BARS.left / scale - x, BARS.top / scale - y];
  canvas.setDirty(true, true);
}

app.registerExtension({
  name: "image-prompt-adapter.opening-view",
  afterConfigureGraph() {
    const { graph, canvas } = app;
    if (graph.extra?.opens !== MARK || !app.extensionManager.setting.get("Comfy.EnableWorkflowViewRestore")) return;
    delete graph.extra.opens; // once saved, it opens where its user has left it
    show(canvas, extent(graph));
  },
});
