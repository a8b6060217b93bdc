/** Light or dark, and whether with high contrast, as the page around the panel is; and the moment it changes. */

function isDark(query) {
  const { body } = document;
  const lab = body.getAttribute('data-jp-theme-light');
  if (lab != null) return lab === 'false';
  const code = body.getAttribute('data-vscode-theme-kind');
  if (code != null) return /dark|high-contrast$/.test(code);
  const root = document.documentElement;
  const named = root.dataset.theme || root.getAttribute('theme') || '';
  if (named) return /dark/.test(named);
  return query.matches;
}

/** JupyterLab and VS Code name their themes of high contrast so; the system's wish is in the style sheet. */
const isHigh = () => ['data-jp-theme-name', 'data-vscode-theme-kind'].some((name) => /high.contrast/i.test(document.body.getAttribute(name) || ''));

/**
 * Keep `panel.dataset.dark` right.
 * @returns {() => void} stop watching
 */
export function watchTheme(panel) {
  const query = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    panel.dataset.dark = String(isDark(query));
    panel.dataset.contrast = String(isHigh());
  };
  const observer = new MutationObserver(apply);
  const attributes = ['class', 'data-jp-theme-light', 'data-jp-theme-name', 'data-vscode-theme-kind', 'data-theme', 'theme'];
  for (const node of [document.body, document.documentElement]) observer.observe(node, { attributes: true, attributeFilter: attributes });
  query.addEventListener('change', apply);
  apply();
  return () => {
    observer.disconnect();
    query.removeEventListener('change', apply);
  };
}
