// @ts-check
/**
 * Parameter names as rows of the overview: one row per tensor, or one per folded module. Pure.
 *
 * Names are split at dots. To keep the tree as flat as it can be read, a module with one child is
 * shown together with it, a layer of a few tensors (weight, bias) is not a row of its own, and a
 * list of numbered blocks gives its place to the blocks. What all names start with is left out.
 */

/**
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 *
 * @typedef {object} Module
 * @property {string} key full name; of the root what all names start with
 * @property {string} label what the row says: the name below the row it is in
 * @property {number[]} parameters indices of all tensors below
 * @property {(Module | Tensor)[]} children
 *
 * @typedef {{key: string, label: string, parameter: number}} Tensor
 */

const LAYER_TENSORS = 3;
/** This many rows fit above the parameter on one screen. */
const ROWS_OPENED = 22;
const FEWEST_ROWS = 5;

/**
 * @param {string[]} names in model order
 * @param {(index: number) => boolean} [keep] which of them to show
 * @returns {Module} the root
 */
export function buildTree(names, keep = () => true) {
  const root = _module(_commonModule(names), '');
  names.forEach((name, parameter) => {
    if (keep(parameter)) _insert(root, name, parameter);
  });
  root.children = root.children.map(_simplify).flatMap(_flatten);
  _relabel(root);
  return root;
}

/**
 * @param {Module} tree
 * @param {Set<string>} open keys of the modules that show their children
 * @param {number} rowHeight CSS pixels
 * @returns {TreeRow[]} from top to bottom
 */
export function treeRows(tree, open, rowHeight) {
  /** @type {TreeRow[]} */
  const rows = [];
  const add = (/** @type {Omit<TreeRow, 'y' | 'height'>} */ row) =>
    rows.push({ ...row, y: rows.length * rowHeight, height: rowHeight });
  const walk = (/** @type {Module} */ module, /** @type {number} */ depth) => {
    for (const child of module.children) {
      const { key, label } = child;
      if ('parameter' in child) {
        add({ key, label, depth, kind: 'tensor', open: false, parameters: [child.parameter] });
        continue;
      }
      const isOpen = open.has(key);
      add({ key, label, depth, kind: 'module', open: isOpen, parameters: child.parameters });
      if (isOpen) walk(child, depth + 1);
    }
  };
  walk(tree, 0);
  return rows;
}

/** @param {Module} tree @returns {Set<string>} keys of all modules */
export function allModules(tree) {
  /** @type {Set<string>} */
  const keys = new Set();
  _forEachModule(tree, (module) => keys.add(module.key));
  return keys;
}

/**
 * Opens modules from the outside in, as long as the rows fit on one screen. Where all layers are in one
 * module, as in `model.layers.0`, its row alone would say nothing: it is opened, however many it has.
 * @param {Module} tree
 * @param {number} [limit] rows
 */
export function modulesOpenAtFirst(tree, limit = ROWS_OPENED) {
  /** @type {Set<string>} */
  const open = new Set();
  let rows = tree.children.length;
  let level = _modulesIn(tree);
  while (level.length) {
    const few = rows < FEWEST_ROWS;
    rows += level.reduce((sum, module) => sum + module.children.length, 0);
    if (rows > limit && !few) break;
    for (const module of level) open.add(module.key);
    level = level.flatMap(_modulesIn);
  }
  return open;
}

/**
 * The modules around a tensor, from the outside in.
 * @param {Module} tree
 * @param {number} parameter
 * @returns {string[]} keys
 */
export function modulesAround(tree, parameter) {
  /** @type {string[]} */
  const keys = [];
  let module = _modulesIn(tree).find((child) => child.parameters.includes(parameter));
  while (module) {
    keys.push(module.key);
    module = _modulesIn(module).find((child) => child.parameters.includes(parameter));
  }
  return keys;
}

/** @param {TreeRow[]} rows @param {number} parameter @returns {TreeRow | undefined} where it is seen */
export function rowOfParameter(rows, parameter) {
  return rows.find((row) => !row.open && row.parameters.includes(parameter));
}

/** @param {string} key @param {string} label @returns {Module} */
function _module(key, label) {
  return { key, label, parameters: [], children: [] };
}

/**
 * The module that all tensors are in, as 'module.model' of a wrapped model. Where numbers follow it
 * ('net.0', 'net.2'), its own name stays with them.
 * @param {string[]} names
 * @returns {string} '' for none
 */
function _commonModule(names) {
  if (names.length < 2) return '';
  const paths = names.map((name) => name.split('.'));
  const shortest = Math.min(...paths.map((path) => path.length - 1));
  let length = 0;
  while (length < shortest && paths.every((path) => path[length] === paths[0][length])) length++;
  const numbered = paths.some((path) => /^\d+$/.test(path[length]));
  return paths[0].slice(0, numbered ? Math.max(0, length - 1) : length).join('.');
}

/** @param {Module} root @param {string} name @param {number} parameter */
function _insert(root, name, parameter) {
  const parts = name.slice(root.key ? root.key.length + 1 : 0).split('.');
  const leaf = /** @type {string} */ (parts.pop());
  let module = root;
  module.parameters.push(parameter);
  for (const part of parts) {
    const key = module.key ? `${module.key}.${part}` : part;
    let child = _modulesIn(module).find((candidate) => candidate.key === key);
    if (!child) {
      child = _module(key, part);
      module.children.push(child);
    }
    child.parameters.push(parameter);
    module = child;
  }
  module.children.push({ key: name, label: leaf, parameter });
}

/** Merges a module that has one child with it. @param {Module | Tensor} node @returns {Module | Tensor} */
function _simplify(node) {
  if ('parameter' in node) return node;
  node.children = node.children.map(_simplify);
  if (node.children.length === 1) return node.children[0];
  node.children = node.children.flatMap(_flatten);
  return node;
}

/** @param {Module | Tensor} node @returns {(Module | Tensor)[]} what takes the node's place in its parent */
function _flatten(node) {
  if ('parameter' in node) return [node];
  const modules = _modulesIn(node);
  const isLayer = modules.length === 0 && node.children.length <= LAYER_TENSORS;
  const isList = modules.length > 0 && node.children.every((child) => _isNumbered(child, node));
  return isLayer || isList ? node.children : [node];
}

/** @param {Module | Tensor} child @param {Module} parent */
function _isNumbered(child, parent) {
  return /^\d+(\.|$)/.test(child.key.slice(parent.key.length + 1));
}

/** @param {Module} module */
function _relabel(module) {
  const skip = module.key ? module.key.length + 1 : 0;
  for (const child of module.children) {
    child.label = child.key.slice(skip);
    if ('children' in child) _relabel(child);
  }
}

/** @param {Module} module @returns {Module[]} */
function _modulesIn(module) {
  return /** @type {Module[]} */ (module.children.filter((child) => 'children' in child));
}

/** @param {Module} module @param {(module: Module) => void} visit */
function _forEachModule(module, visit) {
  for (const child of _modulesIn(module)) {
    visit(child);
    _forEachModule(child, visit);
  }
}

/**
 * All tensors without their modules, the highest rank first.
 * @param {Module} tree
 * @param {ArrayLike<number>} ranks by parameter
 * @param {number} rowHeight
 * @returns {TreeRow[]}
 */
export function rankedRows(tree, ranks, rowHeight) {
  const skip = tree.key ? tree.key.length + 1 : 0;
  /** @type {Tensor[]} */
  const tensors = [];
  const collect = (/** @type {Module} */ module) => {
    for (const child of module.children) 'parameter' in child ? tensors.push(child) : collect(child);
  };
  collect(tree);
  tensors.sort((a, b) => ranks[b.parameter] - ranks[a.parameter] || a.parameter - b.parameter);
  return tensors.map(({ key, parameter }, i) => ({
    key,
    label: key.slice(skip),
    depth: 0,
    kind: 'tensor',
    open: false,
    parameters: [parameter],
    y: i * rowHeight,
    height: rowHeight,
  }));
}
