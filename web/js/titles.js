// Makes a node of this pack wide enough for its title: the canvas cuts off what is longer than inputs and widgets.

import { app } from "../../../scripts/app.js";

const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3));
const BESIDE = 62; // pixels left and right of a title

function widthOf(title) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${window.LiteGraph.NODE_TEXT_SIZE}px ${window.LiteGraph.NODE_FONT}`;
  return Math.ceil(pen.measureText(title).width) + BESIDE;
}

app.registerExtension({
  name: "image-prompt-adapter.titles",
  nodeCreated(node) {
    if (node.constructor.nodeData?.python_module !== `custom_nodes.${FOLDER}`) return;
    node.setSize([Math.max(node.size[0], widthOf(node.title)), node.size[1]]);
  },
});
