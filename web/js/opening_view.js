// Opens this pack's templates where their file says. The front end shows a template whole, however small that makes it,
// and looks into `extra.ds` only for files.

import { app } from "../../../scripts/app.js";

const MARK = "image-prompt-adapter";

app.registerExtension({
  name: "image-prompt-adapter.opening-view",
  afterConfigureGraph() {
    const { opens, ds } = app.graph.extra ?? {};
    if (opens !== MARK || !ds || !app.extensionManager.setting.get("Comfy.EnableWorkflowViewRestore")) return;
    app.canvas.ds.scale = ds.scale;
    app.canvas.ds.offset = [...ds.offset];
    app.canvas.setDirty(true, true);
  },
});
