// @ts-check
/** The module that TensorBoard imports. It requests the first answer, the styles and all modules at once. */

/**
 * The modules of a first visit, in the order in which they are needed: requested at once, rather than when an
 * importing module arrives. Tests compare the list with the imports.
 */
const FIRST = [
  'start.js',
  'data/api.js',
  'host/language.js',
  'data/live.js',
  'host/links.js',
  'host/tensorboard.js',
  'state/actions.js',
  'state/questions.js',
  'state/store.js',
  'data/packed.js',
  'view/app.js',
  'view/ui.js',
  'view/hooks/overview_view.js',
  'view/hooks/run_data.js',
  'view/hooks/run_states.js',
  'view/hooks/evidence.js',
  'view/hooks/filter.js',
  'view/filters.js',
  'view/keyboard.js',
  'view/overview/card.js',
  'view/overview/ranks.js',
  'view/overview/tree_rows.js',
  'view/run/sidebar.js',
  'view/run/run_list.js',
  'view/toolbar.js',
  'view/what_is.js',
  'view/parameter/statistic_groups.js',
  'vendor/preact.js',
  'chart/colormap.js',
  'chart/heatmap_colours.js',
  'state/axis.js',
  'state/evidence.js',
  'state/history.js',
  'chart/gradient_jumps.js',
  'view/overview/module_tree.js',
  'chart/format.js',
  'chart/heatmap_values.js',
  'chart/jump_marks.js',
  'view/hooks/plot.js',
  'view/overview/rows.js',
  'view/overview/sizes.js',
  'chart/worst.js',
  'chart/frame.js',
  'chart/heatmap_severity.js',
  'chart/scales.js',
  'chart/statistic_format.js',
  'chart/healthy_range.js',
  'chart/context_strip.js',
  'chart/evidence_marks.js',
  'chart/heatmap.js',
  'chart/heatmap_marks.js',
  'view/overview/step_axis.js',
  'view/overview/tooltip.js',
  'view/overview/values_at_step.js',
  'view/hooks/at_rest.js',
  'view/parameter/parameter_card.js',
  'view/parameter/histogram_panel.js',
  'view/parameter/line_panel.js',
  'view/parameter/step_table.js',
  'view/parameter/step_columns.js',
  'chart/bands.js',
  'chart/density.js',
  'chart/histogram.js',
  'chart/ridgeline.js',
  'chart/single_histogram.js',
  'view/parameter/lines.js',
  'view/parameter/line_charts.js',
  'chart/line_chart.js',
  'view/parameter/line_tooltip.js',
];

/**
 * Modules that draw: they yield to data requests, which start.js sends without them. The browser sends only a few
 * requests at a time.
 */
const DRAWS = /^(?:view|chart|vendor)\//;

/** Called once by TensorBoard when the tab is opened for the first time. */
export async function render() {
  const language = wantedLanguage();
  const isEnglish = language === 'en';
  const summary = fetch(isEnglish ? 'summary' : `summary?lang=${language}`);
  summary.catch(() => {}); // reported where it is used
  const catalogue = isEnglish ? null : fetch(new URL(`languages/${language}.json`, import.meta.url));
  catalogue?.catch(() => {}); // falls back to English
  const style = _addStyleSheet('style.css'); // all sheets of style/ in one
  for (const path of FIRST) _addLink('modulepreload', path, DRAWS.test(path) ? 'low' : 'auto');
  const { start } = await import('./start.js');
  await start({ language, summary, catalogue, style });
}

/**
 * The tab's language: needed for the first request, which does not wait for host/language.js. That file decides the
 * same way; a test compares them.
 * @returns {'en' | 'zh'}
 */
export function wantedLanguage() {
  let chosen = '';
  try {
    chosen = localStorage.getItem('adam_debug.language') ?? '';
  } catch {
    // Storage may be forbidden.
  }
  const known = chosen === 'en' || chosen === 'zh' ? [chosen] : [];
  const first = [...known, ...navigator.languages][0] ?? 'en';
  return first.toLowerCase().split(/[-_]/)[0] === 'zh' ? 'zh' : 'en';
}

/** @param {string} path @returns {Promise<void>} resolved when the sheet applies, or is unavailable */
function _addStyleSheet(path) {
  return new Promise((resolve) => {
    const link = _addLink('stylesheet', path);
    link.onload = link.onerror = () => resolve();
  });
}

/** @param {string} rel @param {string} path within the tab's files @param {'auto' | 'low'} [priority] */
function _addLink(rel, path, priority = 'auto') {
  const link = document.createElement('link');
  link.rel = rel;
  link.fetchPriority = priority;
  link.href = new URL(path, import.meta.url).href;
  document.head.append(link);
  return link;
}
