// What a page does with a client, and what becomes of what the hub says.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../push.js';
import { Heard, opened } from './support/heard.js';
import { Hub } from './support/hub.js';
import { until } from './support/until.js';
import { Way } from './support/way.js';

const LOCATIONS = `
  [[location]]
  path = "/ev/"
  subscriber = "eventsource"
  [[location]]
  path = "/ws/"
  subscriber = "websocket"
  websocket_allow_publish = true
  [[location]]
  path = "/sub/"
  subscriber = "long-polling"
  [[location]]
  path = "/strict/"
  subscriber = "eventsource"
  authorized_channels_only = "on"
  [[location]]
  path = "/strict-ws/"
  subscriber = "websocket"
  authorized_channels_only = "on"
  [[location]]
  path = "/strict-sub/"
  subscriber = "long-polling"
  authorized_channels_only = "on"
  [[location]]
  path = "/pub"
  publisher = "admin"
  channels_path = "$arg_id"
  [[location]]
  path = "/channels-stats"
  channels_statistics = true
  channels_path = "$arg_id"
`;
const STRICT = { sse: 'strict/', websocket: 'strict-ws/', 'long-poll': 'strict-sub/' };
const data = ({ data }) => data;

let hub;
let client;
let made = 0;
const name = () => `channel-${++made}`;

before(async () => {
  hub = await Hub.start(LOCATIONS);
});
after(() => hub.stop());
afterEach(() => client?.close());

test('channels share a connection, and the same id is the same channel', async () => {
  const way = await Way.to(hub);
  client = connect(way.url);
  const [a, b] = [name(), 'with blank + é%20'];
  const heard = [a, b].map((id) => new Heard(client.channel(id), 'message', data));
  assert.equal(client.channel(a), client.channel(a));
  await opened(client);
  assert.deepEqual(way.requests.map((path) => path.split('?')[0]), [`/ev/${a}/with%20blank%20%2B%20%C3%A9%2520`]);
  await hub.publish(a, 'a');
  await hub.publish(encodeURIComponent(b), 'b');
  assert.deepEqual([await heard[0].atLeast(1), await heard[1].atLeast(1)], [['a'], ['b']]);
  client.close();
  await way.close();
});

test('a channel is an event target, and a listener can be taken off', async () => {
  client = connect(hub.url);
  const channel = client.channel(name());
  const [on, off, events] = [[], [], []];
  channel.on('message', (message) => on.push(message.data));
  const end = channel.on('message', (message) => off.push(message.data));
  channel.addEventListener('message', ({ detail }) => events.push(detail.data));
  await opened(client);
  await hub.publish(channel.id, '1');
  await until(() => on.length === 1, 'the first message');
  end();
  await hub.publish(channel.id, '2');
  await until(() => on.length === 2, 'the second message');
  assert.deepEqual([on, off, events], [['1', '2'], ['1'], ['1', '2']]);
});

test('a channel can be iterated, until it is closed', async () => {
  client = connect(hub.url);
  const channel = client.channel(name());
  const texts = [];
  const iterated = (async () => {
    for await (const message of channel) texts.push(message.data);
  })();
  await opened(client);
  for (const text of ['1', '2', '3']) await hub.publish(channel.id, text);
  await until(() => texts.length === 3, 'three messages');
  channel.close();
  await iterated;
  assert.deepEqual(texts, ['1', '2', '3']);
  for await (const message of channel) assert.fail(message);
});

test('who leaves a loop over a channel goes on with the next message', async () => {
  const id = name();
  for (const text of ['1', '2']) await hub.publish(id, text);
  client = connect(hub.url);
  const channel = client.channel(id, { position: '0.0' });
  for await (const message of channel) {
    assert.equal(message.data, '1');
    break;
  }
  const heard = new Heard(channel, 'message', data);
  await hub.publish(id, '3');
  await until(() => heard.all.at(-1) === '3', 'the next message');
});

test('a closed channel brings nothing, and the others go on', async () => {
  client = connect(hub.url);
  const [a, b] = [client.channel(name()), client.channel(name())];
  const [left, right, closed] = [new Heard(a, 'message', data), new Heard(b, 'message', data), new Heard(a, 'close')];
  await opened(client);
  a.close();
  a.close();
  assert.deepEqual(closed.all, [{ reason: 'closed' }]);
  await until(async () => await hub.subscribers(a.id) === 0 && await hub.subscribers(b.id) === 1, 'only one is subscribed');
  await hub.publish(a.id, 'a');
  await hub.publish(b.id, 'b');
  assert.deepEqual([await right.atLeast(1), left.all], [['b'], []]);
  // Opened again it is another one.
  assert.notEqual(client.channel(a.id), a);
});

test('a channel that is closed and opened again while its messages come misses and repeats none', async () => {
  for (const transport of ['sse', 'long-poll']) {
    const id = name();
    for (const text of ['1', '2', '3']) await hub.publish(id, text);
    client = connect(hub.url, { transports: [transport] });
    const texts = [];
    const open = (position) => client.channel(id, { position }).on('message', (message) => {
      texts.push(message.data);
      if (message.data !== '1') return;
      client.channel(id).close();
      open(message.position);
    });
    open('0.0');
    await until(() => texts.length >= 3, 'three messages');
    await hub.publish(id, '4');
    await until(() => texts.at(-1) === '4', 'the last message');
    assert.deepEqual(texts, ['1', '2', '3', '4']);
    client.close();
  }
});

test('a closed client has no connection and takes no channels', async () => {
  client = connect(hub.url);
  const channel = client.channel(name());
  const [states, closed] = [new Heard(client, 'state'), new Heard(channel, 'close')];
  await opened(client);
  client.close();
  client.close();
  await until(async () => await hub.subscribers(channel.id) === 0, 'nobody is subscribed');
  assert.deepEqual([states.all, closed.all], [['open', 'closed'], [{ reason: 'closed' }]]);
  assert.throws(() => client.channel('another'), /closed/);
});

for (const transport of ['sse', 'websocket', 'long-poll']) {
  test(`${transport}: a channel that is deleted closes, and the others go on`, async () => {
    client = connect(hub.url, { transports: [transport] });
    const [a, b] = [client.channel(name()), client.channel(name())];
    const [closed, heard] = [new Heard(a, 'close'), new Heard(b, 'message', data)];
    await opened(client);
    await until(async () => await hub.subscribers(a.id) === 1, 'it waits');
    await hub.admin('DELETE', `/pub?id=${a.id}`);
    assert.deepEqual(await closed.atLeast(1), [{ reason: 'Channel deleted' }]);
    await hub.publish(b.id, 'b');
    assert.deepEqual(await heard.atLeast(1), ['b']);
    // It is not made anew.
    assert.equal((await hub.admin('GET', `/channels-stats?id=${a.id}`)).status, 404);
  });

  test(`${transport}: a channel that is refused closes with the reason, and the others go on`, async () => {
    const [open, closed] = [name(), name()];
    await hub.publish(open, '1');
    client = connect(hub.url, { transports: [transport], paths: STRICT });
    const refused = new Heard(client.channel(closed), 'close');
    const heard = new Heard(client.channel(open, { position: '0.0' }), 'message', data);
    assert.deepEqual(await refused.atLeast(1), [{ reason: 'Subscriber could not create channels.' }]);
    await hub.publish(open, '2');
    assert.deepEqual(await heard.atLeast(2), ['1', '2']);
    assert.equal(client.transport, transport);
  });
}

test('an open WebSocket publishes, to one of its channels', async () => {
  client = connect(hub.url, { transports: ['websocket'] });
  const [a, b] = [client.channel(name()), client.channel(name())];
  assert.throws(() => a.publish('too early'), /no open WebSocket/);
  const [left, right] = [new Heard(a, 'message'), new Heard(b, 'message')];
  await opened(client);
  a.publish({ x: ['é', null] }, 'kind');
  b.publish('text');
  const [message] = await left.atLeast(1);
  assert.deepEqual([message.event, message.data], ['kind', { x: ['é', null] }]);
  assert.deepEqual((await right.atLeast(1)).map(data), ['text']);
  assert.equal(left.all.length, 1);
  client.close();
  assert.throws(() => a.publish('too late'), /no open WebSocket/);
});

test('other transports do not publish', async () => {
  client = connect(hub.url, { transports: ['sse'] });
  const channel = client.channel(name());
  await opened(client);
  assert.throws(() => channel.publish('x'), /no open WebSocket/);
});

test('a hub that refuses what is published says so, and messages go on', async () => {
  client = connect(hub.url, { transports: ['websocket'] });
  const channel = client.channel(name());
  const [errors, heard] = [new Heard(client, 'error'), new Heard(channel, 'message', data)];
  await opened(client);
  channel.publish('x', 'an event\nof two lines');
  const [error] = await errors.atLeast(1);
  assert.equal(error.status, 400);
  assert.match(error.message, /event must be/);
  await until(() => client.state === 'open', 'it is back');
  channel.publish('y');
  assert.deepEqual(await heard.atLeast(1), ['y']);
});

test('what is asked for wrongly is said at once', () => {
  client = null;
  assert.throws(() => connect(hub.url, { transports: ['carrier pigeon'] }), /"carrier pigeon" is no transport: sse, websocket, long-poll/);
  assert.throws(() => connect(hub.url, { transports: [] }), TypeError);
  assert.throws(() => connect('no address'), TypeError);
});

test('while there is no hub it tries on, ever less often', async () => {
  const away = await Hub.start(LOCATIONS);
  await away.end();
  client = connect(away.url);
  const [errors, heard] = [new Heard(client, 'error'), new Heard(client.channel('a'), 'message', data)];
  // All three transports fail three times.
  await errors.atLeast(9);
  assert.equal(client.state, 'connecting');
  await away.restart();
  await opened(client);
  await away.publish('a', 'here');
  assert.deepEqual(await heard.atLeast(1), ['here']);
  client.close();
  await away.stop();
});
