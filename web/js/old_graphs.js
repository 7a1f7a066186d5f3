// As a graph opens, nodes of the old pack that nothing answers to are replaced, and nodes of others that are called as the
// old pack's are left as they are, under a name that says whose they are. The server decides; Undo takes it back, but for
// a graph in the API's format, of which the front end makes one of its own.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const OLD = /^(IPAd|IPAAd|InsightFaceLoader$|PrepImageFor(ClipVision|InsightFace)$)/; // how the old pack's ids begin
const STAYS_OLD = "old IP-Adapter nodes are kept"; // in the `extra` of a graph of which the replacement was taken back
const READ = 60000; // milliseconds in which it can be read what was replaced; the console keeps it
const PATIENCE = 5000; // milliseconds until an opened graph is the one that is worked on

let opened = {}; // what the server said of the graph that is being opened
let before = null; // that graph as it was

const subgraphsOf = (workflow) => workflow.definitions?.subgraphs ?? [];

function everyNode(workflow) {
  return [workflow, ...subgraphsOf(workflow)].flatMap((graph) => graph.nodes ?? []);
}

async function ask(graph) {
  const reply = await api.fetchApi("/image_prompt_adapter/opened", { method: "POST", body: JSON.stringify(graph) });
  return reply.ok ? reply.json() : {}; // a server may be older than its scripts
}

// What is saved has a node's own name; the one that says whose it is is for the screen.
function rename(others) {
  const root = app.rootGraph ?? app.graph;
  const drawn = [root, ...(root.subgraphs?.values() ?? [])].flatMap(({ nodes }) => nodes);
  for (const { type, last_serialization: saved } of drawn) {
    if (saved && others[type]) saved.type = others[type];
  }
}

const kinds = (workflow) => JSON.stringify(everyNode(workflow).map(({ id, type }) => [id, type]));

// Undo opens the graph as it was, marked so that it stays that way.
function offerUndo(old, began = Date.now()) {
  const tracker = app.extensionManager.workflow.activeWorkflow?.changeTracker;
  const graph = (app.rootGraph ?? app.graph).serialize();
  if (tracker?.activeState && kinds(tracker.activeState) === kinds(graph)) {
    tracker.undoQueue.push({ ...old, extra: { ...old.extra, [STAYS_OLD]: true } });
  } else if (Date.now() - began < PATIENCE) {
    setTimeout(() => offerUndo(old, began), 50);
  }
}

function say({ title: summary, lines }) {
  app.extensionManager.toast.add({ severity: "info", summary, detail: lines.join(" \u2022 "), life: READ });
  console.info([summary, ...lines].join("\n"));
}

// The front end has no hook for these, and older ones leave out nodes that they do not know.
function putPromptsRight() {
  const { loadApiJson } = app;
  if (!loadApiJson) return; // it may be called otherwise one day
  app.loadApiJson = async function (prompt, ...more) {
    const isOld = Object.values(prompt).some(({ class_type: type }) => OLD.test(type));
    const { graph = prompt, others = {}, title, lines } = isOld ? await ask(prompt) : {};
    const loaded = await loadApiJson.call(this, graph, ...more);
    rename(others);
    if (title) say({ title, lines });
    return loaded;
  };
}

app.registerExtension({
  name: "image-prompt-adapter.old_graphs",
  setup: putPromptsRight,
  async beforeConfigureGraph(workflow) {
    opened = {};
    if (!everyNode(workflow).some(({ type }) => OLD.test(type))) return;
    before = structuredClone(workflow);
    opened = await ask(workflow);
    if (opened.graph) Object.assign(workflow, opened.graph);
  },
  afterConfigureGraph() {
    if (!opened.graph) return;
    rename(opened.others);
    if (!opened.title) return;
    say(opened);
    offerUndo(before);
  },
});
