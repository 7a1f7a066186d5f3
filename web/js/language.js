// What the front end does not translate of a pack: titles and note of its graphs, and options. A graph brings its words in
// other languages with it; those of the options are in locales.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const MARK = "image-prompt-adapter";
const WORDS = "imagePromptAdapter"; // in locales/*/main.json
const NOTE = "MarkdownNote";
const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3));

let options = {}; // an option, or an input's name, a colon and an option -> the same in the user's language

const language = () => app.extensionManager.setting.get("Comfy.Locale");

function translate({ nodes, groups }, { note, titles }) {
  for (const one of [...nodes, ...groups]) {
    if (one.title) one.title = titles[one.title] ?? one.title;
    if (one.type === NOTE) one.widgets_values = [note];
  }
}

// The value stays what it is, and stands before its translation: help and other people's graphs call it so.
function label(name, value) {
  const translated = options[`${name}: ${value}`] ?? options[value];
  return translated ? `${value} ${translated}` : value;
}

app.registerExtension({
  name: "image-prompt-adapter.language",
  async setup() {
    if (language() === "en") return;
    options = (await api.getCustomNodesI18n())[language()]?.[WORDS]?.options ?? {};
  },
  beforeConfigureGraph(workflow) {
    const { opens, languages } = workflow.extra ?? {};
    if (opens !== MARK || !languages) return;
    if (languages[language()]) translate(workflow, languages[language()]);
    delete workflow.extra.languages; // once saved, it is its user's
  },
  nodeCreated(node) {
    if (node.constructor.nodeData?.python_module !== `custom_nodes.${FOLDER}`) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type === "combo") widget.options.getOptionLabel ??= (value) => label(widget.name, value);
    }
  },
});
