// @ts-check
/** Follows TensorBoard's light or dark theme, which it does not announce to plugin frames. */

/** @typedef {import('../types.d.ts').Theme} Theme */

/**
 * Calls back with the theme now and whenever it changes, after `:root.dark` has been set.
 * @param {(theme: Theme) => void} onChange
 * @returns {() => void} stops following
 */
export function followTheme(onChange) {
  const hostBody = _hostBody();
  const preference = window.matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const dark = hostBody ? hostBody.classList.contains('dark-mode') : preference.matches;
    document.documentElement.classList.toggle('dark', dark);
    onChange(dark ? 'dark' : 'light');
  };
  apply();
  if (hostBody) {
    const observer = new MutationObserver(apply);
    observer.observe(hostBody, { attributes: true, attributeFilter: ['class'] });
    return () => observer.disconnect();
  }
  preference.addEventListener('change', apply);
  return () => preference.removeEventListener('change', apply);
}

/** @returns {HTMLElement | null} TensorBoard's body; null where the tab stands alone */
function _hostBody() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null; // embedded from another origin
  }
}
