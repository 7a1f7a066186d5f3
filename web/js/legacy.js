// Hides the advanced inputs of nodes that stand in for another pack's, as Nodes 2.0 does by itself: on the canvas a
// node in an old graph is no larger than the one it replaces. The node's menu has "Show Advanced".

import { app } from "../../../scripts/app.js";

const STAND_IN = "LegacyIPAdapter";

// The canvas leaves room for all widgets that are not hidden, advanced ones too.
function fold(node, widget) {
  let hidden = widget.hidden;
  widget.advanced = true;
  Object.defineProperty(widget, "hidden", {
    configurable: true,
    enumerable: true,
    get: () => hidden || (!window.LiteGraph.vueNodesMode && !node.showAdvanced),
    set: (value) => {
      hidden = value;
    },
  });
}

app.registerExtension({
  name: "image-prompt-adapter.legacy",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(STAND_IN)) return;
    for (const widget of node.widgets ?? []) {
      if (widget.options?.advanced) fold(node, widget);
    }
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});
