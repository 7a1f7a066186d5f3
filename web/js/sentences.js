// Shows what nodes of this pack say where people look: what one found, saved or described on the node itself, and why
// one refused, or the sampler on its behalf, on the node and in the first message. What one rejects before anything runs is
// on the node, too. The front end leaves out all of it.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3));
const REFUSAL = "IPAdapterError"; // the exception's whole name, see ipadapter/errors.py
const MESSAGE = '[data-testid="error-overlay-messages"] p'; // of the front end, in which it says that something failed
const TEXT = "$$node-text-preview"; // the front end's widget for a node's progress in words
const LINE = 16; // pixels of a line of it
const LETTER = 6.5; // pixels of a letter of it, about
const LONG = 120; // letters of a text that needs a wide node
const WIDE = 360; // pixels

const REJECTED = "custom_validation_failed"; // the host's type of an error that a node's own check has found

const refused = new Set(); // the sentences that nodes carry now

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
  if (!refused.has(widget?.value)) return;
  const height = node.computeSize()[1];
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - height]);
}

function forget() {
  if (refused.size) everyNode().forEach(unsay);
  refused.clear();
}

// The host puts the input's name and a dash before the sentence.
function sentencesOf({ errors }) {
  const rejected = errors.filter(({ type }) => type === REJECTED);
  return rejected.map(({ details, extra_info: about }) => details.replace(`${about?.input_name} - `, ""));
}

function reject(nodes) {
  forget();
  for (const [id, { class_type: kind, ...found }] of Object.entries(nodes ?? {})) {
    const ours = window.LiteGraph.registered_node_types[kind]?.nodeData?.python_module === `custom_nodes.${FOLDER}`;
    const sentences = ours ? sentencesOf(found) : [];
    if (sentences.length) refused.add(say(id, [...new Set(sentences)].join("\n")));
  }
}

// There is no event for a prompt that is not taken.
function watchQueue() {
  const { queuePrompt } = api;
  api.queuePrompt = async function (...given) {
    try {
      return await queuePrompt.apply(this, given);
    } catch (error) {
      reject(error.response?.node_errors);
      throw error;
    }
  };
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
    watchQueue();
    api.addEventListener("execution_start", forget);
    api.addEventListener("execution_error", ({ detail }) => {
      if (detail.exception_type !== REFUSAL) return;
      const sentence = detail.exception_message.trim();
      refused.add(say(detail.node_id, sentence));
      explain(sentence);
    });
  },
});
