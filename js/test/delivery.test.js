// Messages come once and in order, whatever happens on the way.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../push.js';
import { Heard, opened } from './support/heard.js';
import { Hub } from './support/hub.js';
import { until } from './support/until.js';
import { Way } from './support/way.js';

const TRANSPORTS = ['sse', 'websocket', 'long-poll'];
const data = ({ data }) => data;
const numbers = (count, from = 0) => Array.from({ length: count }, (_, number) => String(from + number));

let hub;
let way;
let client;
let made = 0;

before(async () => {
  hub = await Hub.start('max_messages_stored_per_channel = "none"\nping_message_interval = "1s"');
});
after(() => hub.stop());
afterEach(async () => {
  client.close();
  await way?.close();
  way = null;
});

/** So fast it goes at most. */
const pace = () => new Promise((resolve) => setTimeout(resolve, 2));
const name = () => `channel-${++made}`;
const through = async (rule) => {
  way = await Way.to(hub);
  if (rule) way.rule = rule;
  return way.url;
};

for (const transport of TRANSPORTS) {
  test(`${transport}: messages have their data, event and place`, async () => {
    const id = name();
    client = connect(hub.url, { transports: [transport] });
    const heard = new Heard(client.channel(id), 'message');
    await opened(client);
    assert.equal(client.transport, transport);
    await hub.publish(id, 'one\r\n"two"');
    await hub.publish(id, Buffer.from([255, 0]), { 'Event-Type': 'bytes' });
    const [first, second] = await heard.atLeast(2);
    const { time, position, ...rest } = first;
    assert.deepEqual(rest, { id: 1, channel: id, event: null, data: 'one\r\n"two"' });
    assert.equal(position.split('.')[0], String(time));
    assert.deepEqual([second.event, second.data], ['bytes', Uint8Array.from([255, 0])]);
    assert.equal(client.position, second.position);
  });

  test(`${transport}: a connection that breaks is an error with a sentence of its own`, async () => {
    client = connect(await through(), { transports: [transport] });
    const errors = new Heard(client, 'error', ({ name, message }) => [name, message]);
    client.channel(name());
    await opened(client);
    const { length } = way.requests;
    way.cut();
    await until(() => way.requests.length > length && client.state === 'open', 'the client comes back');
    assert.ok(errors.all.length > 0);
    for (const [kind, message] of errors.all) assert.doesNotMatch(`${kind} ${message}`, /SyntaxError|JSON/);
  });

  test(`${transport}: connections break under load, and nothing is lost or comes twice`, async () => {
    const ids = [name(), name()];
    client = connect(await through(), { transports: [transport] });
    const heard = ids.map((id) => new Heard(client.channel(id), 'message', data));
    await opened(client);
    let published = 0;
    for (let cuts = 0; cuts < 5; published++) {
      for (const id of ids) await hub.publish(id, String(published));
      await pace();
      // In the middle of what it has to catch up with, too.
      if (client.state === 'open' && published % 5 === 0) {
        const { length } = way.requests;
        way.cut();
        cuts += 1;
        await until(() => way.requests.length > length, 'the client comes back');
      }
    }
    for (const of of heard) assert.deepEqual(await of.atLeast(published), numbers(published));
  });

  test(`${transport}: the hub is killed and back`, async () => {
    const id = name();
    client = connect(hub.url, { transports: [transport] });
    const heard = new Heard(client.channel(id), 'message', data);
    await opened(client);
    await hub.publish(id, '0');
    await heard.atLeast(1);
    await hub.kill();
    await until(() => hub.publish(id, '1').then(() => true, () => false), 'the new hub publishes');
    await hub.publish(id, '2');
    assert.deepEqual(await heard.atLeast(3), numbers(3));
  });

  test(`${transport}: a channel begins at its own position, and one more changes nothing for the others`, async () => {
    const [a, b, c] = [name(), name(), name()];
    for (const number of numbers(6)) for (const id of [a, b, c]) await hub.publish(id, number);
    const positions = await history(a);
    client = connect(hub.url, { transports: [transport] });
    const first = new Heard(client.channel(a, { position: positions[3] }), 'message', data);
    assert.deepEqual(await first.atLeast(2), ['4', '5']);
    // From before all that the first has heard.
    const second = new Heard(client.channel(b, { position: positions[1] }), 'message', data);
    assert.equal(client.position, positions[1]);
    const third = new Heard(client.channel(c), 'message', data);
    await second.atLeast(5);
    for (const id of [a, b, c]) await hub.publish(id, '6');
    assert.deepEqual(await second.atLeast(6), numbers(6, 1));
    assert.deepEqual(await first.atLeast(3), numbers(3, 4));
    await until(() => third.all.at(-1) === '6', 'the message after all');
    assert.ok(third.all.length <= 2, 'a channel without a position begins where the client is');
  });

  test(`${transport}: what is missed before the first message comes`, async () => {
    const id = name();
    client = connect(await through(), { transports: [transport] });
    const heard = new Heard(client.channel(id), 'message', data);
    await opened(client);
    way.rule = () => 'refuse';
    way.cut();
    await hub.publish(id, 'meanwhile');
    way.rule = () => 'pass';
    assert.deepEqual(await heard.atLeast(1), ['meanwhile']);
  });

  test(`${transport}: a gap is told, and what is left comes`, async () => {
    const id = name();
    await hub.publish(id, 'first');
    await hub.publish(id, 'missed');
    const [position] = await history(id);
    await hub.admin('DELETE', `/pub?id=${id}`);
    for (const text of ['a', 'b']) await hub.publish(id, text);
    client = connect(hub.url, { transports: [transport] });
    const channel = client.channel(id, { position });
    const [heard, gaps, ofClient] = [new Heard(channel, 'message', data), new Heard(channel, 'gap'), new Heard(client, 'gap')];
    assert.deepEqual(await heard.atLeast(2), ['a', 'b']);
    assert.equal(gaps.all.length, 1);
    assert.deepEqual(ofClient.all, gaps.all);
    await hub.publish(id, 'c');
    assert.deepEqual(await heard.atLeast(3), ['a', 'b', 'c']);
    assert.equal(gaps.all.length, 1);
  });

  test(`${transport}: a position that the hub does not know is a gap, not silence`, async () => {
    const id = name();
    client = connect(hub.url, { transports: [transport] });
    const channel = client.channel(id, { position: '4000000000.1' });
    const [heard, gaps] = [new Heard(channel, 'message', data), new Heard(channel, 'gap')];
    await gaps.atLeast(1);
    await hub.publish(id, 'after');
    assert.deepEqual(await heard.atLeast(1), ['after']);
    assert.equal(gaps.all.length, 1);
  });

  test(`${transport}: a connection that has died in silence is given up`, async () => {
    const id = name();
    client = connect(await through(), { transports: [transport], timeout: 2500 });
    const [heard, errors] = [new Heard(client.channel(id), 'message', data), new Heard(client, 'error')];
    await opened(client);
    way.frozen = () => true;
    await hub.publish(id, 'lost on the way');
    const [error] = await errors.atLeast(1);
    assert.match(error.message, /nothing for 2500 ms/);
    way.frozen = () => false;
    way.cut();
    assert.deepEqual(await heard.atLeast(1), ['lost on the way']);
  });
}

/** Positions of what the hub has of a channel. */
async function history(id) {
  const answer = await fetch(`${hub.url}poll/${id}?position=0.0`, { headers: { Accept: 'application/json' } });
  return (await answer.json()).messages.map(({ time, tag }) => `${time}.${tag}`);
}

for (const verdict of ['refuse', 'hold']) {
  test(`what comes by the way of a proxy that would ${verdict} streams is whole`, async () => {
    const id = name();
    client = connect(await through((path) => (/^\/(ev|ws)\//.test(path) ? verdict : 'pass')));
    const heard = new Heard(client.channel(id, { position: '0.0' }), 'message', data);
    for (const number of numbers(50)) await hub.publish(id, number);
    await heard.atLeast(50);
    assert.equal(client.transport, 'long-poll');
    for (const number of numbers(50, 50)) await hub.publish(id, number);
    assert.deepEqual(await heard.atLeast(100), numbers(100));
  });
}

test('a stream that is held back later gives way to the next transport, without loss', async () => {
  const id = name();
  client = connect(await through());
  const heard = new Heard(client.channel(id), 'message', data);
  await opened(client);
  for (const number of numbers(100)) {
    await hub.publish(id, number);
    if (number === '30') {
      way.rule = (path) => (path.startsWith('/ev/') ? 'refuse' : 'pass');
      way.cut();
    }
  }
  assert.deepEqual(await heard.atLeast(100), numbers(100));
  assert.equal(client.transport, 'websocket');
});

test('a stream that dries up later gives way to the next transport', async () => {
  const id = name();
  client = connect(await through(), { timeout: 2500 });
  const heard = new Heard(client.channel(id), 'message', data);
  await opened(client);
  way.frozen = (path) => path.startsWith('/ev/');
  await hub.publish(id, 'held back');
  assert.deepEqual(await heard.atLeast(1), ['held back']);
  assert.equal(client.transport, 'websocket');
});

test('while the hub is away no worse transport is taken', async () => {
  const id = name();
  client = connect(hub.url);
  const heard = new Heard(client.channel(id), 'message', data);
  await opened(client);
  await hub.restart();
  await opened(client);
  await hub.publish(id, 'again there');
  assert.deepEqual(await heard.atLeast(1), ['again there']);
  assert.equal(client.transport, 'sse');
});
