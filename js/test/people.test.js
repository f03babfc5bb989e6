// Tokens, and who is there.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../push.js';
import { Heard, opened } from './support/heard.js';
import { Hub } from './support/hub.js';
import { until } from './support/until.js';

const TRANSPORTS = ['sse', 'websocket', 'long-poll'];
const data = ({ data }) => data;

let hub;
let clients = [];
let made = 0;
const name = () => `channel-${++made}`;

before(async () => {
  hub = await Hub.start(`
    presence_grace = "1s"
    presence_diff_members = 10
    presence_count_members = 20
  `, 'token');
});
after(() => hub.stop());
afterEach(() => {
  clients.forEach((client) => client.close());
  clients = [];
});

function client(options) {
  clients.push(connect(hub.url, options));
  return clients.at(-1);
}

/** Nobody, who may listen to everything. */
const viewer = (options) => client({ token: (channels) => hub.token({ channels }), ...options });

/** Somebody who listens to the channel. */
async function member(user, id, { transport = 'sse', info = {} } = {}) {
  const someone = client({ transports: [transport], token: await hub.token({ sub: user, channels: [id], info }) });
  someone.channel(id);
  await opened(someone);
  return someone;
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a token that expires is followed by another, without loss`, async () => {
    const id = name();
    const asked = [];
    const holder = client({
      transports: [transport],
      token: async (channels) => {
        asked.push(channels);
        return hub.token({ sub: '7', channels, exp: Math.floor(Date.now() / 1000) + 2 });
      },
    });
    const [heard, errors] = [new Heard(holder.channel(id), 'message', data), new Heard(holder, 'error')];
    await opened(holder);
    const texts = [];
    while (asked.length < 3) {
      texts.push(String(texts.length));
      await hub.publish(id, texts.at(-1));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.deepEqual(await heard.atLeast(texts.length), texts);
    assert.deepEqual(asked, [[id], [id], [id]]);
    assert.deepEqual(errors.all, []);
  });

  test(`${transport}: a token is asked for anew for a channel that the old one does not open`, async () => {
    const [a, b] = [name(), name()];
    const asked = [];
    const holder = client({
      transports: [transport],
      token: (channels) => {
        asked.push(channels);
        return hub.token({ channels });
      },
    });
    const first = new Heard(holder.channel(a), 'message', data);
    await opened(holder);
    const second = new Heard(holder.channel(b), 'message', data);
    await until(async () => await hub.subscribers(b) === 1, 'the second channel is open');
    await hub.publish(a, '1');
    await hub.publish(b, '2');
    assert.deepEqual([await first.atLeast(1), await second.atLeast(1)], [['1'], ['2']]);
    assert.deepEqual(asked, [[a], [a, b]]);
  });

  test(`${transport}: what no token opens is closed, and the rest goes on`, async () => {
    const [mine, foreign] = [name(), name()];
    const holder = client({ transports: [transport], token: () => hub.token({ channels: [mine] }) });
    const heard = new Heard(holder.channel(mine), 'message', data);
    const closed = new Heard(holder.channel(foreign), 'close');
    assert.deepEqual(await closed.atLeast(1), [{ reason: 'The token does not open this channel.' }]);
    await opened(holder);
    await hub.publish(mine, 'x');
    assert.deepEqual(await heard.atLeast(1), ['x']);
  });

  test(`${transport}: a token that is refused, and no other to be had, closes the client`, async () => {
    const holder = client({ transports: [transport], token: `${await hub.token({ channels: ['*'] })}x` });
    const [errors, closed] = [new Heard(holder, 'error'), new Heard(holder.channel(name()), 'close')];
    await closed.atLeast(1);
    assert.equal(holder.state, 'closed');
    assert.deepEqual(errors.all.map(({ status, message }) => [status, message]), [[401, 'The token was refused: it was not signed with a secret of this hub.']]);
  });

  test(`${transport}: whom PHP disconnects is told why, comes back, or stays away as it likes`, async () => {
    const id = name();
    const holder = () => client({ transports: [transport], token: (channels) => hub.token({ sub: '7', channels }) });
    const [back, away] = [holder(), holder()];
    const heard = [back, away].map((client) => new Heard(client.channel(id), 'message', data));
    const told = [back, away].map((client) => new Heard(client, 'disconnect'));
    const errors = [back, away].map((client) => new Heard(client, 'error'));
    away.on('disconnect', () => away.close());
    for (const client of [back, away]) await opened(client);
    await hub.publish(id, 'before');
    for (const of of heard) await of.atLeast(1);
    await until(async () => await hub.subscribers(id) === 2, 'both wait');

    assert.equal(await hub.php(`push_disconnect(user: 7, reason: 'somebody "else"')`), 2);
    for (const of of told) assert.deepEqual(await of.atLeast(1), [{ reason: 'somebody "else"' }]);
    await hub.publish(id, 'after');
    assert.deepEqual(await heard[0].atLeast(2), ['before', 'after']);
    // Without a word from here: a revoked token is one of before.
    await until(async () => await hub.subscribers(id) === 1, 'the one that came back');
    assert.equal(await hub.php(`push_disconnect(channel: '${id}', revoke: true)`), 1);
    assert.deepEqual((await told[0].atLeast(2))[1], { reason: '' });
    await hub.publish(id, 'last');
    assert.deepEqual(await heard[0].atLeast(3), ['before', 'after', 'last']);

    assert.deepEqual([away.state, told[1].all.length, heard[1].all], ['closed', 1, ['before']]);
    assert.deepEqual(errors.map(({ all }) => all), [[], []]);
  });

  test(`${transport}: people come and go`, async () => {
    const id = name();
    const ann = await member('ann', id, { transport, info: { nick: 'Ann' } });
    const room = viewer({ transports: [transport], position: ann.position }).channel(id, { presence: true });
    const [joins, leaves, messages] = [new Heard(room, 'join'), new Heard(room, 'leave'), new Heard(room, 'message', data)];
    await until(() => room.count === 1, 'who is there at first');
    const [known] = room.members.values();
    assert.deepEqual([known.user, known.info, known.connections], ['ann', { nick: 'Ann' }, 1]);
    assert.ok(Math.abs(known.since - Date.now() / 1000) < 60);

    const ben = await member('ben', id, { transport });
    assert.deepEqual((await joins.atLeast(1)).map(({ user }) => user), ['ben']);
    assert.deepEqual([room.count, [...room.members.keys()].sort()], [2, ['ann', 'ben']]);
    await hub.publish(id, 'hello');
    assert.deepEqual(await messages.atLeast(1), ['hello']);
    ben.close();
    assert.deepEqual((await leaves.atLeast(1)).map(({ user }) => user), ['ben']);
    assert.deepEqual([room.count, [...room.members.keys()]], [1, ['ann']]);
    assert.equal(joins.all.length, 1, 'who was there from the beginning has not come');
    const page = await room.roster();
    assert.deepEqual([page.count, page.members.map(({ user }) => user), page.after], [1, ['ann'], null]);
  });

  test(`${transport}: who came and went while the hub was away is told once`, async () => {
    const id = name();
    const [ann, ben] = [await member('ann', id), await member('ben', id)];
    const room = viewer({ transports: [transport] }).channel(id, { presence: true });
    const told = ['join', 'leave'].map((type) => new Heard(room, type, ({ user }) => `${user} ${type}s`));
    await until(() => room.count === 2, 'who is there at first');
    ben.close();
    await hub.kill();
    await member('cleo', id);
    await until(() => room.members.has('cleo') && !room.members.has('ben'), 'the room is up to date');
    assert.deepEqual(told.map(({ all }) => all), [['cleo joins'], ['ben leaves']]);
    assert.deepEqual([...room.members.keys()].sort(), ['ann', 'cleo']);
    assert.equal(ann.state, 'open');
  });
}

test('a page that cannot get a token goes on with the best transport when it can', async () => {
  const id = name();
  let refused = 2;
  const holder = client({
    token: async (channels) => {
      if (refused-- > 0) throw new Error('PHP is away');
      return hub.token({ channels });
    },
  });
  const errors = new Heard(holder, 'error', ({ message }) => message);
  holder.channel(id);
  await opened(holder);
  assert.deepEqual([holder.transport, errors.all], ['sse', Array(2).fill('PHP is away')]);
});

test('of many only the number is told', async () => {
  const id = name();
  const room = viewer().channel(id, { presence: true });
  await opened(clients[0]);
  for (let user = 0; user < 21; user++) await member(`user-${user}`, id);
  await until(() => room.count === 21, 'all are counted');
  assert.equal(room.members.size, 0);
  const first = await room.roster(undefined, 15);
  const second = await room.roster(first.after, 15);
  assert.deepEqual([first.count, first.members.length, second.members.length, second.after], [21, 15, 6, null]);
});

test('what a publisher calls presence is a message like any other', async () => {
  const id = name();
  const room = viewer().channel(id, { presence: true });
  const heard = new Heard(room, 'message', ({ event, data }) => [event, data]);
  await opened(clients[0]);
  await hub.publish(id, '{"type":"snapshot","members":[{"user":"x"}],"count":1}', { 'Event-Type': 'push.presence' });
  assert.deepEqual(await heard.atLeast(1), [['push.presence', '{"type":"snapshot","members":[{"user":"x"}],"count":1}']]);
  assert.equal(room.members.size, 0);
});
