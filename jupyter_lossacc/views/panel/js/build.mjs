// Bundle the panel into the one file that the Python package ships (no server, no CDN).
import { build, transform } from 'esbuild';
import { readFile } from 'node:fs/promises';

/** Styles go into the shadow root as text; the text loader alone would leave them as they were written. */
async function minified({ path }) {
  const { code } = await transform(await readFile(path, 'utf8'), { loader: 'css', minify: true });
  return { contents: code.trim(), loader: 'text' };
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
  banner: { js: '/*! jupyter_lossacc panel (BSD-3-Clause) */' },
  plugins: [
    { name: 'css', setup: (b) => b.onLoad({ filter: /\.css$/ }, minified) },
  ],
  logLevel: 'warning',
});
