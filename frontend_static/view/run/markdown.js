// @ts-check
/** The small part of Markdown that our documents use, as elements. Text stays text: nothing in it becomes HTML. */
import { html } from '../ui.js';

/**
 * A stretch of a line.
 * @typedef {{kind: 'text' | 'code' | 'strong' | 'emphasis', text: string} | {kind: 'link', text: string, href: string}} Inline
 *
 * @typedef {object} Block
 * @property {'paragraph' | 'heading' | 'code' | 'list' | 'table'} kind
 * @property {Inline[][]} lines of a paragraph or heading the only one, of a list its items
 * @property {Inline[][][]} [rows] of a table, the head first
 * @property {boolean} [ordered] of a list
 */

const INLINE =
  /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)\)|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)|(?<!\w)_([^_\s][^_]*)_(?!\w)/g;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;

/** @param {string} text @returns {Inline[]} */
export function parseInline(text) {
  /** @type {Inline[]} */
  const parts = [];
  let end = 0;
  const plain = (/** @type {number} */ to) => {
    if (to > end) parts.push({ kind: 'text', text: text.slice(end, to) });
  };
  for (const match of text.matchAll(INLINE)) {
    plain(match.index);
    end = match.index + match[0].length;
    const [, code, strong, label, href, starred, underlined] = match;
    if (code !== undefined) parts.push({ kind: 'code', text: code });
    else if (strong !== undefined) parts.push({ kind: 'strong', text: strong });
    else if (label !== undefined) parts.push(_linkOf(label, href));
    else parts.push({ kind: 'emphasis', text: starred ?? underlined });
  }
  plain(text.length);
  return parts;
}

/** A link out of the tab; one to another page of the documents is its text. @param {string} text @param {string} href @returns {Inline} */
function _linkOf(text, href) {
  const label = text.replace(/[`*]/g, '');
  return /^https?:/i.test(href) ? { kind: 'link', text: label, href } : { kind: 'text', text: label };
}

/** @param {string} markdown @returns {Block[]} */
export function parseMarkdown(markdown) {
  /** @type {Block[]} */
  const blocks = [];
  const lines = markdown.replace(/\r/g, '').split('\n');
  for (let i = 0; i < lines.length; ) {
    const start = i;
    if (!lines[i].trim()) i++;
    else if (/^\s*```/.test(lines[i])) {
      for (i++; i < lines.length && !/^\s*```/.test(lines[i]); ) i++;
      blocks.push({ kind: 'code', lines: [[{ kind: 'text', text: lines.slice(start + 1, i).join('\n') }]] });
      i++;
    } else if (/^#{1,6}\s/.test(lines[i])) {
      blocks.push({ kind: 'heading', lines: [parseInline(lines[i++].replace(/^#+\s+/, ''))] });
    } else if (/^\s*\|/.test(lines[i])) {
      while (i < lines.length && /^\s*\|/.test(lines[i])) i++;
      blocks.push({ kind: 'table', lines: [], rows: _rowsOf(lines.slice(start, i)) });
    } else if (ITEM.test(lines[i])) {
      while (i < lines.length && lines[i].trim() && !/^\s*(\||```|#)/.test(lines[i])) i++;
      blocks.push(_listOf(lines.slice(start, i)));
    } else {
      while (i < lines.length && lines[i].trim() && !/^\s*(\||```)|^#{1,6}\s/.test(lines[i]) && !ITEM.test(lines[i])) i++;
      blocks.push({ kind: 'paragraph', lines: [parseInline(lines.slice(start, i).map((line) => line.trim()).join(' '))] });
    }
  }
  return blocks;
}

/** @param {string[]} lines @returns {Block} */
function _listOf(lines) {
  /** @type {string[]} */
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item) items.push(item[2]);
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return { kind: 'list', ordered: ITEM.exec(lines[0])?.[1] !== undefined, lines: items.map(parseInline) };
}

/** @param {string[]} lines of a table @returns {Inline[][][]} rows of cells */
function _rowsOf(lines) {
  return lines
    .filter((line) => !/^\s*\|[\s:|-]+\|?\s*$/.test(line))
    .map((line) => line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '').split(/(?<!\\)\|/))
    .map((cells) => cells.map((cell) => parseInline(cell.trim().replace(/\\\|/g, '|'))));
}

/** @param {{text: string}} props */
export function Markdown({ text }) {
  return parseMarkdown(text).map((block, i) => html`<${BlockOf} key=${i} block=${block} />`);
}

/** @param {{block: Block}} props */
function BlockOf({ block: { kind, lines, rows = [], ordered } }) {
  if (kind === 'code') return html`<pre>${lines[0].map(({ text }) => text)}</pre>`;
  if (kind === 'heading') return html`<h5>${_inlines(lines[0])}</h5>`;
  if (kind === 'table') {
    const [head, ...body] = rows;
    return html`<div class="markdown-table"><table>
      <thead><tr>${head.map((cell, i) => html`<th key=${i}>${_inlines(cell)}</th>`)}</tr></thead>
      <tbody>${body.map((row, i) => html`<tr key=${i}>${row.map((cell, j) => html`<td key=${j}>${_inlines(cell)}</td>`)}</tr>`)}</tbody>
    </table></div>`;
  }
  if (kind === 'paragraph') return html`<p>${_inlines(lines[0])}</p>`;
  const items = lines.map((line, i) => html`<li key=${i}>${_inlines(line)}</li>`);
  return ordered ? html`<ol>${items}</ol>` : html`<ul>${items}</ul>`;
}

/** @param {Inline[]} parts */
function _inlines(parts) {
  return parts.map((part) => {
    if (part.kind === 'link') return html`<a href=${part.href} target="_blank" rel="noopener noreferrer">${part.text}</a>`;
    if (part.kind === 'code') return html`<code>${part.text}</code>`;
    if (part.kind === 'strong') return html`<b>${part.text}</b>`;
    return part.kind === 'emphasis' ? html`<em>${part.text}</em>` : part.text;
  });
}
