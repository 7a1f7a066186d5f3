// Shows what nodes of this pack say where people look: what one found, saved or described on the node itself, and why
// one refused, or the sampler on its behalf, on the node and in the first message. The front end leaves out both.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const REFUSAL = "IPAdapterError"; // the exception's whole name, see ipadapter/errors.py
const MESSAGE = '[data-testid="error-overlay-messages"] p'; // of the front end, in which it says that something failed
const TEXT = "$$node-text-preview"; // the front end's widget for a node's progress in words
const LINE = 16; // pixels of a line of it
const LETTER = 6.5; // pixels of a letter of it, about
const LONG = 120; // letters of a text that needs a wide node
const WIDE = 360; // pixels

let refused = ""; // the sentence that some node carries now

function everyNode(graph = app.rootGraph ?? app.graph) {
  return graph.nodes.flatMap((node) => (node.subgraph ? [node, ...everyNode(node.subgraph)] : [node]));
}

function textOf(node) {
  return node.widgets?.find((widget) => widget.name === TEXT);
}

// The front end leaves two lines for a text, however long it is.
function makeRoom(node, text) {
  const width = Math.max(node.size[0], text.length > LONG ? WIDE : 0);
  const letters = (width - 60) / LETTER;
  const lines = text.split("\n").reduce((sum, line) => sum + Math.ceil((line.length + 1) / letters), 0);
  textOf(node).options.getMinHeight = () => 26 + LINE * Math.min(lines, 12);
  node.setSize([width, Math.max(node.size[1], node.computeSize()[1])]);
}

function say(id, words) {
  const text = words.replaceAll("\n", "  \n"); // Nodes 2.0 reads it as Markdown, which joins lines otherwise
  api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId: String(id), text } }));
  for (const node of everyNode().filter((one) => textOf(one)?.value === text)) makeRoom(node, text);
  return text;
}

function unsay(node) {
  const widget = textOf(node);
  if (!widget || widget.value !== refused) return;
  const height = node.computeSize()[1];
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - height]);
}

// In place of "threw an error", as soon as the front end says so.
function explain(sentence, tries = 20) {
  const message = document.querySelector(MESSAGE);
  if (message) {
    message.textContent = sentence;
    message.classList.remove("line-clamp-3");
  } else if (tries > 0) {
    setTimeout(() => explain(sentence, tries - 1), 100);
  }
}

app.registerExtension({
  name: "image-prompt-adapter.sentences",
  setup() {
    api.addEventListener("executed", ({ detail }) => {
      if (detail.output?.said) say(detail.display_node ?? detail.node, detail.output.said.join("\n"));
    });
    api.addEventListener("execution_start", () => {
      if (refused) everyNode().forEach(unsay);
      refused = "";
    });
    api.addEventListener("execution_error", ({ detail }) => {
      if (detail.exception_type !== REFUSAL) return;
      const sentence = detail.exception_message.trim();
      refused = say(detail.node_id, sentence);
      explain(sentence);
    });
  },
});
