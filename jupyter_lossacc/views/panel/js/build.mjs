// Bundle the panel into the one file that the Python package ships (no server, no CDN).
import { build, transform } from 'esbuild';
import { copyFile, readFile } from 'node:fs/promises';

/** Styles go into the shadow root as text; the text loader alone would leave them as they were written. */
async function minified({ path }) {
  const { code } = await transform(await readFile(path, 'utf8'), { loader: 'css', minify: true });
  return { contents: code.trim(), loader: 'text' };
}

/**
 * Of uPlot, leave out the public extras that the panel does not use (bars, splines, steps, joins, dates):
 * they hang on one block of assignments at its end, and without that the bundler drops them.
 */
async function slimmed({ path }) {
  const source = await readFile(path, 'utf8');
  const contents = source.replace(/\nuPlot\.assign = assign;[^]*?\nexport \{/, '\nuPlot.sync = _sync;\n\nexport {');
  if (contents === source) throw new Error('uPlot no longer ends as expected; look at its export block.');
  return { contents, loader: 'js' };
}

const out = new URL('../static/', import.meta.url);

await build({
  entryPoints: [new URL('src/index.js', import.meta.url).pathname],
  outfile: new URL('panel.js', out).pathname,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2021',
  charset: 'utf8',
  banner: { js: '/*! jupyter_lossacc panel (BSD-3-Clause), with uPlot 1.6.32 (MIT, see uplot.LICENSE.txt) */' },
  plugins: [
    { name: 'css', setup: (b) => b.onLoad({ filter: /\.css$/ }, minified) },
    { name: 'slim', setup: (b) => b.onLoad({ filter: /uPlot\.esm\.js$/ }, slimmed) },
  ],
  logLevel: 'warning',
});
await copyFile(new URL('node_modules/uplot/LICENSE', import.meta.url), new URL('uplot.LICENSE.txt', out));
