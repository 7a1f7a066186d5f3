// On the canvas a node in an old graph is no larger than the one it replaces. Advanced inputs of nodes that stand in for
// another pack's are hidden, as Nodes 2.0 does by itself; the node's menu has "Show Advanced". What the old node had not
// at all is hidden where the old one's place is too small for it; the node's menu has "Show All Inputs".

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const STAND_IN = "LegacyIPAdapter";
const OTHERS = ["FindIPAdapter", "ImagePromptNoise", "LoadInsightFace", "PrepareReferenceImage", "SaveImagePrompt"];
const HIDDEN = "hidden inputs"; // a property with their names, outputs among them, which the command writes too
const RING = 7; // the shape of an optional socket
const BUTTON = 24; // the height of Nodes 2.0's "Show advanced inputs"

const oldTypes = new WeakMap(); // graph -> node id -> type, of nodes that can be replaced
let rules = {}; // old type -> what the server says of its replacement

const isLinked = (node, { name }) => node.inputs.some(({ widget, link }) => widget?.name === name && link != null);

// The canvas leaves room for all widgets that are not hidden, advanced ones too. One with a link is shown. Nodes 2.0 puts
// a button below advanced widgets, for which a node that hides what the old one had not has no room: there they are just
// hidden.
function fold(node, widget) {
  if (!widget.visibility) return foldOnOlderCanvas(node, widget);
  const isFolded = () => !isLinked(node, widget);
  const own = () => Reflect.get(Object.getPrototypeOf(widget), "visibility", widget);
  define(widget, "visibility", () => {
    const { surfaces, suppression } = own();
    return {
      surfaces: { ...surfaces, canvas: isFolded() ? "advanced" : "shown" },
      suppression: { ...suppression, byExtension: suppression.byExtension || (isFolded() && !node.showAdvanced) },
    };
  });
  (node.foldedInNodes2 ??= []).push(() => {
    own().surfaces.vueNode = HIDDEN in node.properties && isFolded() ? "never" : "advanced";
  });
  settle(node);
}

function settle(node) {
  node.foldedInNodes2?.forEach((set) => set());
}

// Front ends that ask the widget each time.
function foldOnOlderCanvas(node, widget) {
  let hidden = widget.hidden;
  const isFolded = () => !isLinked(node, widget);
  const isCramped = () => HIDDEN in node.properties;
  define(widget, "advanced", isFolded);
  define(widget, "hidden", () => hidden || (!window.LiteGraph.vueNodesMode && !node.showAdvanced && isFolded()), (value) => {
    hidden = value;
  });
  define(widget.options, "advanced", () => !isCramped());
  define(widget.options, "hidden", () => isCramped() && isFolded());
}

function define(thing, name, get, set = () => {}) {
  Object.defineProperty(thing, name, { configurable: true, enumerable: true, get, set });
}

// Takes out slots with these names to which nothing is linked, and gives them in their order.
function take(slots, names, remove) {
  const places = slots.map((_, place) => place).reverse();
  const free = places.filter((place) => {
    const { name, widget, link, links } = slots[place];
    return names.includes(name) && !widget && link == null && !links?.length;
  });
  const taken = free.map((place) => slots[place]).reverse();
  free.forEach(remove);
  return taken;
}

function fit(node) {
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}

// The canvas leaves a gap above widgets, also where all of them are hidden.
function closeGap(node) {
  const hasRow = (widget) => node.isWidgetRowVisible?.(widget) ?? !widget.hidden;
  define(node, "widgets_start_y", () => (node.widgets?.some(hasRow) === false ? 0 : undefined));
}

function hide(node) {
  const names = node.properties[HIDDEN];
  if (!names || node.hiddenSlots) return;
  for (const widget of node.widgets ?? []) {
    if (names.includes(widget.name)) [widget, ...(widget.linkedWidgets ?? [])].forEach((one) => fold(node, one));
  }
  closeGap(node);
  node.hiddenSlots = {
    inputs: take([...node.inputs], names, (place) => node.removeInput(place)),
    outputs: take([...node.outputs], names, (place) => node.removeOutput(place)),
  };
  lookAnew(node);
}

// For both kinds of canvas.
function lookAnew(node) {
  settle(node);
  node.widgets = [...node.widgets];
  fit(node);
}

function showAll(node) {
  const { inputs, outputs } = node.hiddenSlots;
  for (const { name, type, label } of inputs) node.addInput(name, type, { shape: RING, label });
  for (const { name, type, label } of outputs) node.addOutput(name, type, { label });
  delete node.hiddenSlots;
  delete node.properties[HIDDEN];
  node.showAdvanced = true;
  lookAnew(node);
}

const button = (node) => (node.widgets?.some((widget) => widget.options?.advanced) ? BUTTON : 0);

// What the old node had not, where the front end's own button has just put this one in its place.
function hideReplaced(node) {
  const rule = rules[oldTypes.get(node.graph)?.get(String(node.id))];
  if (rule?.new_node_id !== node.comfyClass || node.size[1] >= node.computeSize()[1] + button(node)) return;
  const carried = (rule.input_mapping ?? []).filter((one) => one.old_id).map((one) => one.new_id);
  const slots = [...node.inputs, ...(node.widgets ?? [])].filter(({ name }) => !carried.includes(name));
  const kept = (rule.output_mapping ?? []).map((one) => one.new_idx);
  const outputs = node.outputs.filter((_, place) => !kept.includes(place));
  node.properties[HIDDEN] = [...new Set([...slots, ...outputs].map(({ name }) => name))];
  hide(node);
}

function note(graph) {
  const known = graph.nodes.filter((node) => rules[node.type]).map((node) => [String(node.id), node.type]);
  oldTypes.set(graph, new Map(known));
}

app.registerExtension({
  name: "image-prompt-adapter.legacy",
  async setup() {
    const reply = await api.fetchApi("/node_replacements");
    const told = reply.ok ? await reply.json() : {}; // older servers have no replacements
    rules = Object.fromEntries(Object.entries(told).map(([old, [first]]) => [old, first]));
  },
  afterConfigureGraph() {
    const root = app.rootGraph ?? app.graph;
    [root, ...(root.subgraphs?.values() ?? [])].forEach(note);
  },
  nodeCreated(node) {
    const isStandIn = node.comfyClass?.startsWith(STAND_IN);
    if (!isStandIn && !OTHERS.includes(node.comfyClass)) return;
    if (isStandIn) {
      for (const widget of node.widgets ?? []) {
        if (widget.options?.advanced) fold(node, widget);
      }
      node.setSize([node.size[0], node.computeSize()[1]]);
    }
    const { onConfigure } = node;
    node.onConfigure = function (...given) {
      onConfigure?.apply(this, given);
      hide(node);
    };
    if (!app.configuringGraph) queueMicrotask(() => hideReplaced(node));
  },
  getNodeMenuItems(node) {
    return node.hiddenSlots ? [{ content: "Show All Inputs", callback: () => showAll(node) }] : [];
  },
});
