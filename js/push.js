// The browser client of Push: channels over one connection, by event stream, WebSocket or long-poll.
//
// A connection begins at the oldest position of its channels, and each channel drops what is not after its own. So whatever
// breaks or changes, nothing is lost and nothing comes twice. Types are in push.d.ts; names with _ are for this file only.

const PATHS = { sse: 'ev/', websocket: 'ws/', 'long-poll': 'sub/', presence: 'presence/' };
// A transport that brings nothing for so long at first is held back by something on the way.
const OPENS = 6_000;
// Then a better one is tried again.
const BETTER = 300_000;
const LONGEST_PAUSE = 30_000;
const CHANGED = new Error('The connection is made anew.');
// Ids of what the hub itself says.
const DELETED = -2;
const PRESENCE = -6;

class PushError extends Error {
  /** `told`: by the hub, not by something before it; `wait`: not before so many seconds. */
  constructor(text, status, told, wait = status === 429) {
    super(text);
    Object.assign(this, { name: 'PushError', status, told, wait: Number(wait) || 0 });
  }
}

class Silence extends PushError {}
class Disconnected extends Error {}

class Emitter extends EventTarget {
  on(type, listener) {
    const call = ({ detail }) => listener(detail);
    this.addEventListener(type, call);
    return () => this.removeEventListener(type, call);
  }

  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Before all positions is null. */
function isAfter(a, b) {
  if (!a || !b) return Boolean(a);
  const [time, tag] = a.split('.');
  const [otherTime, otherTag] = b.split('.');
  return (time - otherTime || tag - otherTag) > 0;
}

const later = (a, b) => (isAfter(a, b) ? a : b);
const earliest = (channels) => [...channels].map(({ position }) => position).filter(Boolean).sort((a, b) => (isAfter(a, b) ? 1 : -1))[0] ?? null;

// A transport hands on what comes until its connection ends, and throws when that is an error.
const TRANSPORTS = {
  async sse(connection) {
    const { body } = await connection.get('sse', { format: 'json' });
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (text + value).split('\n');
      text = lines.pop();
      for (const line of lines) if (line.startsWith('data: ')) connection.take(JSON.parse(line.slice(6)));
      connection.alive();
    }
  },

  websocket(connection) {
    return new Promise((resolve, reject) => {
      const orReject = (act) => (event) => {
        try {
          act(event);
        } catch (error) {
          reject(error);
        }
      };
      const url = connection.address('websocket', { format: 'json', token: connection.client._token });
      url.protocol = url.protocol.replace('http', 'ws');
      const socket = connection.socket = new WebSocket(url);
      connection.signal.addEventListener('abort', () => socket.close());
      socket.onmessage = orReject(({ data }) => {
        connection.take(JSON.parse(data));
        connection.alive();
      });
      socket.onerror = () => reject(new PushError('The WebSocket failed.'));
      socket.onclose = orReject(({ code, reason }) => {
        if ([1000, 1001, 1005].includes(code)) return resolve();
        if (code === 4001) throw new PushError(reason, 401, true);
        if (code === 4002) throw new Disconnected(reason);
        // The hub says why it refuses; a connection that breaks says nothing.
        const told = reason.startsWith('{') ? JSON.parse(reason) : null;
        throw new PushError(told?.explain ?? `The WebSocket broke (${code}).`, told?.http_status, told !== null);
      });
    });
  },

  async 'long-poll'(connection) {
    // The first answers at once: so it shows that the way is free, and where the hub is.
    let mode = { 'X-Nginx-PushStream-Mode': 'polling' };
    do {
      const answer = await connection.get('long-poll', {}, { Accept: 'application/json', ...mode });
      connection.take(await answer.json());
      connection.alive();
      mode = {};
    } while (!connection.client._betterIsDue());
  },
};

/** One attempt to listen, with the channels of its moment. */
class Connection {
  client;
  transport;
  channels;
  opened = false;
  /** Its transport was used, not only a token asked for. */
  tried = false;
  /** Up to where its channels are complete, unless their own position is later. */
  heard = null;
  begun = Date.now();
  /** It brought a message. */
  useful = false;
  /** It has a token that was made for it. */
  fresh = false;
  socket = null;
  #controller = new AbortController();
  #timer;

  constructor(client, transport) {
    Object.assign(this, { client, transport, channels: new Set(client._channels.values()), signal: this.#controller.signal });
  }

  /** Listens; the answer is why that is over, or null. */
  async listen() {
    const aborted = new Promise((_, reject) => this.signal.addEventListener('abort', () => reject(this.signal.reason)));
    try {
      await Promise.race([this.#listen(), aborted]);
      if (!this.opened) throw new PushError(`By ${this.transport} came nothing.`);
      return null;
    } catch (error) {
      return error;
    } finally {
      this.end(CHANGED);
      for (const channel of this.channels) channel._from = later(this.heard, channel._from);
    }
  }

  async #listen() {
    this.fresh = await this.client._authorize(this.channels);
    this.signal.throwIfAborted();
    this.tried = true;
    this.alive();
    await TRANSPORTS[this.transport](this);
  }

  end(reason) {
    clearTimeout(this.#timer);
    this.#controller.abort(reason);
  }

  /** Something came. The network does not tell when nothing will. */
  alive() {
    clearTimeout(this.#timer);
    if (this.signal.aborted) return;
    const silence = this.opened ? this.client._options.timeout : OPENS;
    this.#timer = setTimeout(() => this.end(new Silence(`By ${this.transport} came nothing for ${silence} ms.`)), silence);
  }

  address(path, query) {
    const watched = [...this.channels].filter(({ _presence }) => _presence);
    const presence = watched.length ? (watched.every(({ _roster }) => _roster) ? 1 : 'anew') : null;
    return this.client._address(path, this.channels, { position: earliest(this.channels), presence, ...query });
  }

  get(path, query, headers) {
    return this.client._get(this.address(path, query), headers, this.signal);
  }

  take(what) {
    // What is late comes again by the connection that follows.
    if (this.signal.aborted) return;
    if (!this.opened) {
      this.opened = true;
      this.client._opened(this);
    }
    const { gap, messages = what.channel ? [what] : null, position, expired, disconnect } = what;
    if (gap) this.#gap(position);
    messages?.forEach((message) => this.#message(message));
    // That of a gap is valid only when what follows it has come.
    if (position && (messages || !gap)) this.heard = position;
    if (expired) throw new PushError('The token has expired.', 401, true);
    if (disconnect !== undefined) throw new Disconnected(disconnect);
  }

  #message({ time, tag, encoding, ...message }) {
    message.position = `${time}.${tag}`;
    message.time = time;
    if (encoding) message.data = Uint8Array.from(atob(message.data), (byte) => byte.charCodeAt(0));
    const { id, data, position } = message;
    const channel = this.client._channels.get(message.channel);
    // A whole roster says nothing of the messages before it.
    const whole = id === PRESENCE && data.type !== 'diff';
    if (id === DELETED) this.client._drop(channel, data);
    // One that was closed and opened again while this was read has another connection.
    else if (this.channels.has(channel) && (whole || isAfter(position, channel._from))) channel._take(id === PRESENCE, message);
    if (!whole) this.heard = position;
    this.useful = true;
  }

  #gap(position) {
    // A hub that knows nothing of ours may be before them.
    if (isAfter(this.heard, position)) this.heard = null;
    for (const channel of this.channels) {
      if (isAfter(channel._from, position)) channel._from = null;
      if (channel._roster) channel._roster = false;
    }
    for (const target of [this.client, ...this.channels]) target._emit('gap', { position });
  }
}

class Channel extends Emitter {
  members = new Map();
  count = 0;
  _from;
  _presence;
  /** Whether the members are known; null: they never were. */
  _roster = null;
  #client;
  #closed = false;

  constructor(client, id, from, presence) {
    super();
    this.id = id;
    this._from = from;
    this._presence = presence;
    this.#client = client;
    this.on('close', () => this.#closed = true);
  }

  get position() {
    const connection = this.#client._connection;
    return connection?.channels.has(this) ? later(connection.heard, this._from) : this._from;
  }

  publish(data, event) {
    this.#client._publish({ channel: this.id, data, event });
  }

  async roster(after, limit) {
    const client = this.#client;
    return (await client._get(client._address('presence', [this], { after, limit }))).json();
  }

  close() {
    this.#client._drop(this, 'closed');
    this.#client._change();
  }

  _take(isPresence, message) {
    if (!isPresence) this._emit('message', message);
    else if (this._presence) this.#watch(message.data);
  }

  #watch({ type, members = [], joins = members, leaves, count }) {
    // The first roster is nobody's join, and numbers are nobody's leave.
    const told = this._roster !== null && type !== 'count';
    const present = new Set(members.map(({ user }) => user));
    const events = [];
    for (const user of leaves ?? [...this.members.keys()].filter((user) => !present.has(user))) {
      const member = this.members.get(user);
      this.members.delete(user);
      if (told && member) events.push(['leave', member]);
    }
    for (const member of joins) {
      if (told && (type === 'diff' || !this.members.has(member.user))) events.push(['join', member]);
      this.members.set(member.user, member);
    }
    this._roster = true;
    this.count = count;
    for (const event of [...events, ['presence', { count }]]) this._emit(...event);
  }

  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake;
    const off = ['message', 'close'].map((type) => this.on(type, (what) => {
      waiting.push(type === 'message' && what);
      wake?.();
    }));
    try {
      while (!this.#closed || waiting.length) {
        if (!waiting.length) await new Promise((resolve) => wake = resolve);
        const message = waiting.shift();
        if (!message) return;
        yield message;
      }
    } finally {
      off.forEach((end) => end());
    }
  }
}

class Client extends Emitter {
  state = 'connecting';
  transport = null;
  _channels = new Map();
  _connection = null;
  _options;
  _token = null;
  #base;
  #transports;
  #choice = 0;
  /** The transport that brought something last. */
  #worked = null;
  #betterAt = 0;
  #failures = 0;
  /** Where a channel begins that says nothing else. */
  #start;
  #hidden = false;
  #changed = false;
  #wake = null;
  #listeners = new AbortController();

  constructor(url, options) {
    super();
    this.#base = new URL(url.replace(/\/*$/, '/'), globalThis.location?.href);
    this._options = { timeout: 40_000, transports: Object.keys(TRANSPORTS), ...options, paths: { ...PATHS, ...options.paths } };
    this.#start = options.position ?? null;
    this.#transports = this._options.transports.filter((name) => {
      if (!TRANSPORTS[name]) throw new TypeError(`"${name}" is no transport: ${Object.keys(TRANSPORTS).join(', ')}`);
      return name !== 'websocket' || globalThis.WebSocket;
    });
    if (!this.#transports.length) throw new TypeError('There is no WebSocket here, and no other transport is allowed.');
    for (const type of ['online', 'offline', 'pagehide', 'pageshow']) {
      globalThis.addEventListener?.(type, () => {
        // Each page is shown when it begins.
        if (type === 'pageshow' && !this.#hidden) return;
        this.#hidden = type === 'pagehide';
        this.#choice = this.#failures = 0;
        this._change();
      }, { signal: this.#listeners.signal });
    }
    this.#run();
  }

  get position() {
    return earliest(this._channels.values());
  }

  channel(id, { position, presence = false } = {}) {
    if (this.state === 'closed') throw new Error('The client is closed.');
    if (!this._channels.has(id)) {
      const from = position ?? this._connection?.heard ?? this.#start;
      this._channels.set(id, new Channel(this, id, from, presence));
      this._change();
    }
    return this._channels.get(id);
  }

  close() {
    this.#set('closed');
    this.#listeners.abort();
    for (const channel of this._channels.values()) this._drop(channel, 'closed');
    this._change();
  }

  #set(state) {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    this._emit('state', state);
  }

  /** Has the loop look at everything anew. */
  _change() {
    this.#changed = true;
    this._connection?.end(CHANGED);
    this.#wake?.();
  }

  _drop(channel, reason) {
    if (!this._channels.delete(channel?.id)) return;
    this._connection?.channels.delete(channel);
    channel._emit('close', { reason });
  }

  _opened({ transport }) {
    this.#worked = transport;
    this.#set('open');
  }

  _publish(publication) {
    const socket = this._connection?.socket;
    if (socket?.readyState !== 1) throw new Error('There is no open WebSocket.');
    socket.send(JSON.stringify(publication));
  }

  _betterIsDue() {
    return this.#choice > 0 && Date.now() > this.#betterAt;
  }

  /** True: the token is new. */
  async _authorize(channels) {
    const { token } = this._options;
    if (typeof token !== 'function') this._token = token;
    else if (this._token === null) return Boolean(this._token = await token([...channels].map(({ id }) => id)));
    return false;
  }

  _address(path, channels, query) {
    const ids = [...channels].map(({ id }) => encodeURIComponent(id));
    const url = new URL(this._options.paths[path] + ids.join('/'), this.#base);
    for (const [name, value] of Object.entries(query)) if (value != null) url.searchParams.set(name, value);
    return url;
  }

  async _get(url, headers, signal) {
    const authorization = this._token && { Authorization: `Bearer ${this._token}` };
    const response = await fetch(url, { headers: { ...headers, ...authorization }, signal, cache: 'no-store' });
    if (response.ok) return response;
    const told = response.headers.get('X-Nginx-PushStream-Explain');
    const { disconnect } = await response.json().catch(() => ({}));
    if (disconnect !== undefined) throw new Disconnected(disconnect);
    const text = told ?? `${url.pathname} was answered with ${response.status}.`;
    throw new PushError(text, response.status, told !== null, response.headers.get('Retry-After') ?? undefined);
  }

  async #run() {
    // Channels of the same turn begin together.
    await null;
    while (this.state !== 'closed') {
      this.#changed = false;
      const online = globalThis.navigator?.onLine !== false && !this.#hidden;
      const waits = !online || !this._channels.size;
      if (waits || this.state === 'offline') this.#set(online ? 'connecting' : 'offline');
      if (waits) {
        await this.#pause();
        continue;
      }
      if (this._betterIsDue()) this.#choice = 0;
      this.transport = this.#transports[this.#choice];
      const connection = this._connection = new Connection(this, this.transport);
      const error = await connection.listen();
      this._connection = null;
      this.#start = connection.heard ?? this.#start;
      if (error === CHANGED) continue;
      this.#set('connecting');
      await this.#pause(await this.#afterwards(connection, error));
    }
  }

  /** Draws the consequences; the answer is how many milliseconds to wait. */
  async #afterwards({ opened, tried, useful, begun, fresh, transport }, error) {
    const { status, told, wait = 0 } = error ?? {};
    const renews = typeof this._options.token === 'function';
    this.#failures = useful || (opened && Date.now() - begun > 1000) ? 0 : this.#failures + 1;
    if (error instanceof Disconnected) {
      if (renews) this._token = null;
      this._emit('disconnect', { reason: error.message });
    } else if (status === 401 || (status === 403 && told)) {
      const old = opened || !fresh;
      if (status === 403 && !(renews && old) && await this.#dropRefused()) return 0;
      if (renews) this._token = null;
      if (renews && old) return 0;
      this._emit('error', error);
      if (status === 401 && !renews) this.close();
    } else if (error) {
      this._emit('error', error);
      const away = status >= 500 || status === 429;
      const works = opened || (this.#worked === transport && this.#failures < 3);
      // Neither the hub, when it is away, nor a network that breaks says anything of a transport; silence does.
      if (tried && !away && (!works || error instanceof Silence)) {
        this.#choice = (this.#choice + 1) % this.#transports.length;
        this.#betterAt = Date.now() + BETTER;
        if (this.#choice) {
          // Only a round through all of them counts.
          this.#failures = Math.max(0, this.#failures - 1);
          return 0;
        }
      }
    }
    // By chance, so that after an outage not all come in the same moment.
    const pause = Math.min(LONGEST_PAUSE, 500 * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    return 1000 * wait + (this.#failures ? pause : Math.random() * 500);
  }

  /** Closes the channels that the hub refuses one by one. True: there were some. */
  async #dropRefused() {
    const before = this._channels.size;
    for (const channel of [...this._channels.values()]) {
      try {
        const position = channel.position;
        const { body } = await this._get(this._address('long-poll', [channel], { position }), { 'X-Nginx-PushStream-Mode': 'polling' });
        await body.cancel();
      } catch ({ status, told, message }) {
        if (status === 403 && told) this._drop(channel, message);
      }
    }
    return this._channels.size < before;
  }

  #pause(milliseconds) {
    if (this.#changed || milliseconds === 0) return null;
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? null : setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function connect(url, options = {}) {
  return new Client(url, options);
}

export { connect };
