// Hides the advanced inputs of nodes that stand in for another pack's, as Nodes 2.0 does by itself: on the canvas a
// node in an old graph is no larger than the one it replaces. The node's menu has "Show Advanced".

import { app } from "../../../scripts/app.js";

const STAND_IN = "LegacyIPAdapter";

app.registerExtension({
  name: "image-prompt-adapter.legacy",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(STAND_IN)) return;
    for (const widget of node.widgets ?? []) {
      if (widget.options?.advanced) widget.advanced = true;
    }
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});
