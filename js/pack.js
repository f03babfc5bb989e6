// Makes what the package for npm has beside its sources: push.global.js for a script tag without modules, which is what the
// hub serves under this name, and the licenses.

import { copyFile, readFile, writeFile } from 'node:fs/promises';

const here = new URL('./', import.meta.url);

/** What the hub serves as /push.js: comments, which have their own lines, and blanks are left out. */
export async function module() {
  const source = await readFile(new URL('push.js', here), 'utf8');
  const lines = source.split('\n').map((line) => line.trimStart());
  return lines.filter((line) => line !== '' && !line.startsWith('//') && !line.startsWith('/**')).join('\n') + '\n';
}

/** What the hub serves as /push.global.js. */
export async function global() {
  const [body] = (await module()).split('export ');
  return `globalThis.Push = (() => {\n'use strict';\n${body}return { connect };\n})();\n`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  await writeFile(new URL('push.global.js', here), await global());
  for (const name of ['LICENSE-MIT', 'LICENSE-APACHE']) await copyFile(new URL(`../${name}`, here), new URL(name, here));
}
