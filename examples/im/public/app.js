// The page of the chat. It asks start.php where things stand, then long-polls nginx, which hands the poll to the hub.
//
// One rule keeps the messages right: whatever way a message comes (history, poll, answer to our own sending), it goes
// through show(), which knows each by its id and puts it in its place. So nothing comes twice and nothing in disorder.

const $ = (id) => document.getElementById(id);

const POLL_LIMIT = 40_000;      // the hub answers after 25 s at the latest; later than this the connection is dead
const RETRY_LIMIT = 15_000;

let me = null;
let channels = [];              // what this page listens to
let position = null;            // up to where it has heard everything; null: begin anew
let poll = null;                // the AbortController of the waiting poll
let wake = null;                // ends the pause between two attempts

const conversations = new Map();        // 'room:1', 'person:7' -> {key, title, kind, id, gone, messages: Map, unread, item}
let active = null;
let newest = 0;                         // the highest id of a message

// Talking to PHP

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(address, data) {
  const response = await fetch(address, data === undefined ? { cache: 'no-store' } : {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(data),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

// Listening

/** Everything as the server knows it now. Afterwards the page is complete up to `position`. */
async function start() {
  const answer = await ask('start.php');
  const known = newest;
  me = answer.me;
  channels = answer.channels;
  for (const conversation of conversations.values()) {
    conversation.messages.clear();
    conversation.gone = true;
  }
  for (const room of answer.rooms) openRoom(room);
  for (const person of answer.people) openPerson(person);
  for (const message of answer.history) put(message, known > 0 && message.id > known);
  position = answer.position;

  $('me').textContent = me.nick;
  $('door').hidden = true;
  $('chat').hidden = false;
  if (active === null) select(conversations.get(`room:${answer.rooms[0].id}`), false);
  drawList();
  drawMessages();
}

/** One long poll. Every answer, also one without messages, says how far the page is now complete. */
async function listen() {
  poll = new AbortController();
  const late = setTimeout(() => poll.abort(new Error('The connection is dead.')), POLL_LIMIT);
  // Nothing tells that a request has arrived and waits. One that has not failed at once most probably has.
  const waits = setTimeout(() => setState('live'), 800);
  try {
    const response = await fetch(`sub/${channels.join('/')}?position=${position}`, {
      headers: { Accept: 'application/json' },
      cache: 'no-store',
      signal: poll.signal,
    });
    if (response.status === 200) {
      const answer = await response.json();
      if (answer.gap) {
        position = null;        // the hub no longer has all that we missed, the database has
      } else {
        position = answer.position;
        for (const message of answer.messages) {
          if (!take(message)) continue;
          // From now on we listen to a channel more. What it had up to `answer.position` is not in this answer, so go
          // back to where the channel began; the rest of this answer comes once more.
          position = `${message.time}.${message.tag}`;
          break;
        }
      }
    } else {
      // 403: a channel is gone. start.php opens it again, or says that we are signed out.
      if (response.status === 403) position = null;
      throw new Refused(response.status, `The push server answered ${response.status}.`);
    }
    setState('live');
  } finally {
    clearTimeout(late);
    clearTimeout(waits);
  }
}

/** Listens until the page is closed or signed out. */
async function follow() {
  for (let failures = 0; ;) {
    try {
      if (position === null) await start();
      await listen();
      failures = 0;
    } catch (error) {
      if (error === MORE_CHANNELS) continue;
      if (error.status === 401) return leave();
      failures += 1;
      setState(navigator.onLine ? 'connecting' : 'offline');
      // Some chance in the pause, so that after an outage not all pages come in the same moment.
      await pause(Math.min(RETRY_LIMIT, 250 * 2 ** failures) * (0.5 + Math.random() / 2));
    }
  }
}

const MORE_CHANNELS = new Error('The page listens to more channels now.');

function pause(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** What the hub brings: a message, a new person or room, somebody who left. True: it adds a channel to listen to. */
function take({ event, data }) {
  if (event === 'message') {
    show(data);
  } else if (event === 'person') {
    openPerson(data);
    drawList();
  } else if (event === 'left') {
    const conversation = conversations.get(`person:${data.id}`);
    if (conversation) conversation.gone = true;
    drawList();
  } else if (event === 'room') {
    return addRoom(data);
  }
  return false;
}

/** True: the room's channel is new to this page. A position is valid for any channels, so it needs none of its own. */
function addRoom(room) {
  openRoom(room);
  drawList();
  if (channels.includes(room.channel)) return false;
  channels.push(room.channel);
  return true;
}

// Conversations

function open(kind, id, title) {
  const key = `${kind}:${id}`;
  if (!conversations.has(key)) {
    conversations.set(key, { key, kind, id, title, gone: true, messages: new Map(), unread: 0 });
  }
  return conversations.get(key);
}

function openRoom({ id, name }) {
  open('room', id, name).gone = false;
}

function openPerson({ id, nick }) {
  if (id !== me.id) open('person', id, nick).gone = false;
}

function conversationOf(message) {
  if (message.room !== null) return conversations.get(`room:${message.room}`);
  const other = message.from.id === me.id ? message.to : message.from;
  return open('person', other.id, other.nick);
}

/** Keeps a message and counts it as unread if it is news; false when it was there already. */
function put(message, isNews) {
  const conversation = conversationOf(message);
  if (!conversation || conversation.messages.has(message.id)) return false;
  conversation.messages.set(message.id, message);
  newest = Math.max(newest, message.id);
  const seen = conversation === active && document.visibilityState === 'visible' && inTalk();
  if (isNews && message.from.id !== me.id && !seen) conversation.unread += 1;
  return true;
}

function show(message) {
  if (!put(message, true)) return;
  drawList();
  if (conversationOf(message) === active) insert(message);
}

function select(conversation, byHand) {
  active = conversation;
  conversation.unread = 0;
  problem('send', '');
  document.body.classList.toggle('talk', byHand || inTalk());
  drawList();
  drawMessages();
  if (byHand) $('text').focus();
}

/** On a narrow screen the list and the conversation take turns. */
function inTalk() {
  return document.body.classList.contains('talk') || matchMedia('(min-width: 45rem)').matches;
}

// Drawing. Text of people goes into the page by textContent only.

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawList() {
  const lists = { room: [], person: [] };
  let unread = 0;
  for (const conversation of conversations.values()) {
    if (conversation.gone && conversation.messages.size === 0) continue;
    unread += conversation.unread;
    const name = element('span', { className: 'name', textContent: conversation.title });
    const count = element('span', { className: 'unread', textContent: conversation.unread });
    count.append(element('span', { className: 'unseen', textContent: ' unread' }));
    const button = element('button', {
      type: 'button',
      className: conversation.gone ? 'gone' : '',
      onclick: () => select(conversation, true),
    }, face(conversation), name, ...(conversation.unread ? [count] : []));
    button.setAttribute('aria-current', conversation === active);
    lists[conversation.kind].push(element('li', {}, button));
  }
  replace($('rooms'), lists.room);
  replace($('people'), lists.person.length ? lists.person : [element('li', { className: 'nobody', textContent: 'Nobody else is here yet.' })]);
  $('text').disabled = active.gone;
  $('text').placeholder = active.gone ? `${active.title} has left` : 'Write a message';
  document.title = unread ? `(${unread}) Push chat` : 'Push chat';
}

/** Draws a list anew and leaves the keyboard where it was. */
function replace(list, items) {
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...items);
  if (focused >= 0) items[Math.min(focused, items.length - 1)]?.querySelector('button')?.focus();
}

function face({ kind, id, title }) {
  const letter = kind === 'room' ? '#' : [...title][0].toUpperCase();
  const made = element('span', { className: `face tone-${kind === 'room' ? 'room' : id % 6}`, textContent: letter });
  made.setAttribute('aria-hidden', 'true');
  return made;
}

function drawMessages() {
  const messages = [...active.messages.values()].sort((a, b) => a.id - b.id);
  // A whole conversation is not news to be read out; what comes later is.
  $('messages').setAttribute('aria-live', 'off');
  $('messages').replaceChildren(...messages.map(draw));
  markGroups();
  $('messages').scrollTop = $('messages').scrollHeight;
  setTimeout(() => $('messages').setAttribute('aria-live', 'polite'));
  $('title').textContent = active.title;
}

function draw(message) {
  const time = new Date(message.time * 1000);
  const made = element('li', {},
    face({ kind: 'person', id: message.from.id, title: message.from.nick }),
    element('div', {},
      element('p', { className: 'who' },
        element('b', { textContent: message.from.nick }), ' ',
        element('time', {
          dateTime: time.toISOString(),
          title: time.toLocaleString(),
          textContent: time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }),
        })),
      element('p', { className: 'text', textContent: message.text })));
  made.dataset.id = message.id;
  made.dataset.from = message.from.id;
  made.dataset.time = message.time;
  made.classList.toggle('mine', message.from.id === me.id);
  return made;
}

/** Puts a message in its place, nearly always the last one. */
function insert(message) {
  const list = $('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const next = [...list.children].findLast((item) => Number(item.dataset.id) < message.id);
  const made = draw(message);
  next ? next.after(made) : list.prepend(made);
  markGroups();
  if (atEnd || message.from.id === me.id) list.scrollTop = list.scrollHeight;
}

/** Who writes several messages within five minutes is named once. */
function markGroups() {
  let before = null;
  for (const item of $('messages').children) {
    item.classList.toggle('more', before !== null && before.dataset.from === item.dataset.from
      && item.dataset.time - before.dataset.time < 300);
    before = item;
  }
}

function setState(state) {
  const texts = { live: 'Live', connecting: 'Connecting…', offline: 'Offline: messages will come when you are back' };
  if ($('state').className === state) return;
  $('state').className = state;
  $('state').textContent = texts[state];
}

function problem(form, text) {
  $(form).querySelector('.problem').textContent = text;
}

function leave() {
  $('chat').hidden = true;
  $('door').hidden = false;
  $('nick').focus();
}

// What people do

function onSubmit(form, action) {
  $(form).addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = $(form).querySelector('button');
    if (button.disabled) return;
    button.disabled = true;
    problem(form, '');
    try {
      await action();
    } catch (error) {
      problem(form, error instanceof Refused ? error.message : 'The server cannot be reached. Try again.');
    } finally {
      button.disabled = false;
    }
  });
}

onSubmit('sign-in', async () => {
  await ask('sign-in.php', { nick: $('nick').value });
  location.reload();
});

onSubmit('new-room', async () => {
  const { room } = await ask('room.php', { name: $('room-name').value });
  $('room-name').value = '';
  if (addRoom(room)) poll?.abort(MORE_CHANNELS);
  select(conversations.get(`room:${room.id}`), true);
});

onSubmit('send', async () => {
  const text = $('text').value;
  if (text.trim() === '') return;
  const target = active.kind === 'room' ? { room: active.id } : { to: active.id };
  const { message, published } = await ask('send.php', { ...target, text });
  if ($('text').value === text) $('text').value = '';
  grow();
  show(message);
  if (!published) problem('send', 'Saved. The push server cannot be reached, so others will see it a little later.');
});

function grow() {
  $('text').style.height = 'auto';
  $('text').style.height = `${$('text').scrollHeight + 2}px`;
}

$('text').addEventListener('input', grow);
$('text').addEventListener('keydown', (event) => {
  // Not while an input method composes a character: there Enter means "this one".
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('send').requestSubmit();
  }
});

$('sign-out').addEventListener('click', async () => {
  await ask('sign-out.php', {}).catch(() => {});
  location.reload();
});

$('back').addEventListener('click', () => {
  document.body.classList.remove('talk');
  $('rooms').querySelector('button').focus();
});

document.addEventListener('visibilitychange', () => {
  if (active && document.visibilityState === 'visible' && inTalk()) {
    active.unread = 0;
    drawList();
  }
});

for (const change of ['online', 'offline']) {
  window.addEventListener(change, () => {
    // The connection of the waiting poll has gone with the old network, and nothing else would tell.
    poll?.abort(new Error('The network has changed.'));
    wake?.();
  });
}

follow();
