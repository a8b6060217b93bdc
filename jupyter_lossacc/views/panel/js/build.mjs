// Bundle the panel into the one file that the Python package ships (no server, no CDN).
import { build, transform } from 'esbuild';
import { copyFile, readFile } from 'node:fs/promises';

/** Styles go into the shadow root as text; the text loader alone would leave them as they were written. */
async function minified({ path }) {
  const { code } = await transform(await readFile(path, 'utf8'), { loader: 'css', minify: true });
  return { contents: code.trim(), loader: 'text' };
}

/**
 * Of uPlot, leave out what the panel never uses: the public extras on the block of assignments at its
 * end (bars, splines, steps, joins), and dates, because our axis counts epochs. What nothing refers
 * to any more, the bundler drops.
 */
async function slimmed({ path }) {
  const cuts = [
    [/\nuPlot\.assign = assign;[^]*?\nexport \{/, '\nuPlot.sync = _sync;\n\nexport {'],
    [/\nfunction genTimeStuffs\(ms\) \{\n[^]*?\n\}\n/, '\nconst genTimeStuffs = () => [[], [], () => []];\n'],
    [/\nfunction fmtDate\(tpl, names\) \{\n[^]*?\n\}\n/, '\nconst fmtDate = () => String;\n'],
    [/(days|months)\.map\(slice3\)/g, "''"],
    [/new Intl\.DateTimeFormat\(\)\.resolvedOptions\(\)\.timeZone/, "''"],
    [/\nfunction timeAxisStamps\(stampCfg, fmtDate\) \{\n[^]*?\n\}\n/, '\nconst timeAxisStamps = () => [];\n'],
    [/\nfunction timeAxisVals\(tzDate, stamps\) \{\n[^]*?\n\}\n/, '\nconst timeAxisVals = () => String;\n'],
  ];
  let contents = await readFile(path, 'utf8');
  for (const [cut, rest] of cuts) {
    const before = contents;
    contents = contents.replace(cut, () => rest);
    if (contents === before) throw new Error(`uPlot has changed; look for ${cut}`);
  }
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
