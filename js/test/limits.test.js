// What a client does when the hub says that it came too often.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../push.js';
import { Heard, opened } from './support/heard.js';
import { Hub } from './support/hub.js';
import { until } from './support/until.js';
import { Way } from './support/way.js';

const data = ({ data }) => data;

let hub;
const ends = [];
const open = (url, options) => ends[ends.push(connect(url, options)) - 1];

before(async () => {
  hub = await Hub.start(`
    trusted_proxies = "127.0.0.1"
    connect_rate_per_address = "30r/m burst=0"
    publish_rate_per_address = "1r/m burst=1"
    [[location]]
    path = "/ev/"
    subscriber = "eventsource"
    [[location]]
    path = "/ws/"
    subscriber = "websocket"
    websocket_allow_publish = true
    [[location]]
    path = "/pub"
    publisher = "admin"
    channels_path = "$arg_id"
    [[location]]
    path = "/channels-stats"
    channels_statistics = true
    channels_path = "$arg_id"
  `);
});
after(() => hub.stop());
afterEach(() => Promise.all(ends.splice(0).map((end) => end.close())));

test('who comes too often waits for as long as the hub says, and loses nothing', async () => {
  const first = open(hub.url, { transports: ['sse'] });
  const said = new Heard(first.channel('a'), 'message', ({ position }) => position);
  await opened(first);
  await hub.publish('a', 'before');
  const [position] = await said.atLeast(1);

  const way = await Way.to(hub);
  ends.push(way);
  const began = Date.now();
  const client = open(way.url, { position });
  const errors = new Heard(client, 'error');
  const heard = new Heard(client.channel('a'), 'message', data);
  const [{ status, message }] = await errors.atLeast(1);
  assert.equal(status, 429);
  assert.match(message, /^Too many connections from this address \(connect_rate_per_address\): try again in 2 s\.$/);
  await hub.publish('a', 'meanwhile');
  await opened(client);
  assert.ok(Date.now() - began >= 2000, 'it waits');
  // It comes once more, and by the same transport: that it was too much says nothing of that.
  assert.deepEqual([way.requests.length, client.transport, errors.all.length], [2, 'sse', 1]);
  assert.deepEqual(await heard.atLeast(1), ['meanwhile']);
});

test('a WebSocket that says too much comes back, and what it said before was published', async () => {
  const client = open(hub.url, { transports: ['websocket'] });
  const errors = new Heard(client, 'error');
  const channel = client.channel('b');
  const heard = new Heard(channel, 'message', data);
  await opened(client);
  for (const text of ['1', '2']) {
    channel.publish(text);
    await until(() => heard.all.at(-1) === text, `${text} comes back`);
  }
  const before = errors.all.length;
  channel.publish('3');
  const { status, message } = (await errors.atLeast(before + 1))[before];
  assert.equal(status, 429);
  assert.match(message, /^Too many publications from this address \(publish_rate_per_address\)/);
  await opened(client);
  assert.equal(client.transport, 'websocket');
  await hub.publish('b', 'after');
  assert.deepEqual(await heard.atLeast(3), ['1', '2', 'after']);
});
