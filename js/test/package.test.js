// What pages and packages get.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';

import * as pack from '../pack.js';
import { Hub } from './support/hub.js';

const directory = new URL('../', import.meta.url);
const run = promisify(execFile);

test('the hub serves what is packed, in at most 5 KB', async () => {
  const hub = await Hub.start();
  try {
    for (const [name, text] of [['push.js', await pack.module()], ['push.global.js', await pack.global()]]) {
      const served = await (await fetch(hub.url + name)).text();
      assert.ok(served === text, `${name} is that of this directory`);
      const size = gzipSync(served, { level: 9 }).length;
      assert.ok(size <= 5000, `${name}: ${size} bytes`);
      // A comment that is left would be code.
      assert.doesNotMatch(text, /^\s*(\/\/|\/?\*)/m);
    }
  } finally {
    await hub.stop();
  }
});

test('the module and the script for a tag have the same function', async () => {
  const module = await import(`data:text/javascript,${encodeURIComponent(await pack.module())}`);
  assert.deepEqual(Object.keys(module), ['connect']);
  const page = { EventTarget, AbortController, URL, CustomEvent };
  page.globalThis = page;
  runInNewContext(await pack.global(), page);
  assert.deepEqual(Object.keys(page.Push), ['connect']);
  page.Push.connect('http://127.0.0.1/').close();
});

test('npm packs the client, its types and the licenses', async () => {
  try {
    const { stdout } = await run('npm', ['pack', '--dry-run', '--json'], { cwd: directory });
    const [{ name, version, files }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')));
    assert.deepEqual(files.map(({ path }) => path).sort(), [
      'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json', 'push.d.ts', 'push.global.js', 'push.js',
    ]);
    assert.equal(await readFile(new URL('push.global.js', directory), 'utf8'), await pack.global());
    const workspace = await readFile(new URL('../Cargo.toml', directory), 'utf8');
    assert.equal(version, /^version = "(.*)"$/m.exec(workspace)[1], `${name} has the version of the hub`);
  } finally {
    for (const made of ['push.global.js', 'LICENSE-MIT', 'LICENSE-APACHE']) await rm(new URL(made, directory), { force: true });
  }
});

test('the types name what is there', async () => {
  const types = await readFile(new URL('push.d.ts', directory), 'utf8');
  const { connect } = await import('../push.js');
  const client = connect('http://127.0.0.1/');
  const channel = client.channel('a');
  for (const [name, object] of [['Client', client], ['Channel', channel]]) {
    const [, body] = new RegExp(`^export interface ${name}\\b.*?\\{\n(.*?)^\\}`, 'ms').exec(types);
    const declared = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[<(:]/gm)].map(([, member]) => member);
    const own = Object.getOwnPropertyNames(object);
    const inherited = ['on', ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))];
    const there = [...own, ...inherited].filter((member) => member !== 'constructor' && !member.startsWith('_'));
    assert.deepEqual(declared.sort(), there.sort(), name);
  }
  client.close();
});
