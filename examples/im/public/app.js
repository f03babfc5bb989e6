// The page of the chat: it begins with what start.php answers, then hears what changes from the hub, by the browser client
// of Push (/push.js). What people do goes to PHP, and comes back to every page from there.

import { connect } from '/push.js';
import { conversationOf, conversations, cut, heardTyping, markRead, me, merge, online, open, put, setMe, sorted, target } from './conversations.js';
import { Refused, ask, insist } from './server.js';
import { $, drawConversation, drawHead, drawList, drawState, drawTyping, inTalk, insert, insertEarlier, problem } from './view.js';

const PAGE = 50;                // messages that start.php and earlier.php answer of a conversation
const TYPING_PAUSE = 3000;      // how often we say that we write

let client = null;
let token = null;               // of start.php, for the first connection
let lobby = null;               // its channel tells who is online
let active = null;
let starting = null;

// Beginning, and beginning again

/** Everything as the server knows it now. What came meanwhile by the hub is there already, and stays. */
function start() {
  // One at a time: several channels may lose something at once.
  starting ??= begin().finally(() => starting = null);
  return starting;
}

function again() {
  cut();
  return start();
}

async function begin() {
  let answer;
  try {
    answer = await insist('start.php');
  } catch (error) {
    if (error.status === 401) return leave();
    // The client has its own patience; this is about PHP.
    drawState('connecting');
    setTimeout(start, 5000 + Math.random() * 5000);
    return;
  }
  setMe(answer.me);
  token = answer.token;
  for (const conversation of conversations.values()) conversation.gone = true;
  for (const room of answer.rooms) open('room', room);
  for (const person of answer.people) open('person', person);
  merge(answer.history, PAGE);
  for (const conversation of conversations.values()) markRead(conversation, answer.read[conversation.key] ?? 0);
  if (!lobby?.members.size) setOnline(answer.online);
  listen(answer.channels, answer.rooms[0].channel, answer.position);

  $('me').textContent = me.nick;
  $('door').hidden = true;
  $('chat').hidden = false;
  active ??= conversations.get(`room:${answer.rooms[0].id}`);
  select(active, false);
}

// Listening

/** `position` is from before the history was read, so that nothing falls between the two. */
function listen(channels, of, position) {
  if (client === null) {
    client = connect('/', { token: newToken });
    client.on('state', drawState);
    // More was missed than the hub keeps. The database has it.
    client.on('gap', again);
  }
  for (const id of channels) hear(id, position, id === of);
}

function hear(id, position, isLobby = false) {
  const channel = client.channel(id, { position, presence: isLobby });
  if (channel.heard) return;
  channel.heard = true;
  channel.on('message', take);
  // Signed out in another tab, or a hub that has begun anew: start.php knows, and opens what is to be open.
  channel.on('close', () => client.state !== 'closed' && setTimeout(again, 1000 * Math.random()));
  if (isLobby) {
    lobby = channel;
    // Of a very large room the hub tells no names, and the dots are those of start.php.
    channel.on('presence', () => channel.members.size && setOnline([...channel.members.keys()].map(Number)));
  }
}

/** Called for the first connection, and when the token is over. */
async function newToken() {
  const first = token;
  token = null;
  if (first !== null) return first;
  try {
    return (await ask('token.php')).token;
  } catch (error) {
    if (error.status === 401) leave();
    throw error;
  }
}

function take({ event, data, position }) {
  if (event === 'message') show(data);
  if (event === 'person') open('person', data);
  if (event === 'room') addRoom(data, position);
  if (event === 'left') {
    const conversation = conversations.get(`person:${data.id}`);
    if (conversation) conversation.gone = true;
  }
  if (event === 'read') {
    const conversation = conversations.get(data.conversation);
    if (conversation) markRead(conversation, data.message);
  }
  if (event === 'typing') {
    const conversation = conversations.get(data.room !== null ? `room:${data.room}` : `person:${data.from}`);
    if (conversation && data.from !== me.id) heardTyping(conversation, data.from, () => conversation === active && drawTyping(active));
    return;
  }
  drawSides();
}

/** A room is listened to from where it began. */
function addRoom(room, position) {
  hear(room.channel, position);
  return open('room', room);
}

function setOnline(people) {
  online.clear();
  people.forEach((person) => online.add(person));
  if (active) drawSides();
}

// Showing

function show(message) {
  if (!put(message)) return;
  const conversation = conversationOf(message);
  if (conversation === active) {
    insert(message);
    drawTyping(active);
    readActive();
  }
  drawSides();
}

function drawSides() {
  drawList(active, select);
  drawHead(active);
}

function select(conversation, byHand) {
  active = conversation;
  problem('send', '');
  document.body.classList.toggle('talk', byHand || inTalk());
  drawConversation(active);
  readActive();
  drawSides();
  if (byHand) $('text').focus();
}

/** What is shown to somebody who looks is read; the other pages of this person and the next visit learn of it. */
function readActive() {
  if (document.visibilityState !== 'visible' || !inTalk()) return;
  const conversation = active;
  if (!markRead(conversation, sorted(conversation).at(-1)?.id ?? 0)) return;
  // In a busy room not for each message.
  conversation.saving ||= setTimeout(() => {
    conversation.saving = 0;
    insist('read.php', { ...target(conversation), message: conversation.read }).catch(() => {});
  }, 1000);
}

function leave() {
  client?.close();
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
  const { room, position } = await ask('room.php', { name: $('room-name').value });
  $('room-name').value = '';
  select(addRoom(room, position), true);
});

onSubmit('send', async () => {
  const text = $('text').value;
  if (text.trim() === '') return;
  // Sent again until it is with everybody; the key makes it one message.
  const message = { ...target(active), text, key: newKey() };
  const answer = await insist('send.php', message, ({ published }) => published);
  if ($('text').value === text) $('text').value = '';
  grow();
  // The others take the message for the end of the writing.
  saidTyping = 0;
  show(answer.message);
  if (!answer.published) problem('send', 'Saved. The push server cannot be reached, so others will see it a little later.');
});

const newKey = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join('-');

let saidTyping = 0;

$('text').addEventListener('input', () => {
  grow();
  if (Date.now() - saidTyping < TYPING_PAUSE || $('text').value.trim() === '') return;
  saidTyping = Date.now();
  ask('typing.php', target(active)).catch(() => {});
});

$('text').addEventListener('keydown', (event) => {
  // Not while an input method composes a character: there Enter means "this one".
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('send').requestSubmit();
  }
});

function grow() {
  $('text').style.height = 'auto';
  $('text').style.height = `${$('text').scrollHeight + 2}px`;
}

$('earlier').addEventListener('click', async () => {
  const conversation = active;
  const { history } = await insist('earlier.php', { ...target(conversation), before: sorted(conversation)[0].id }).catch(() => ({}));
  if (!history) return;
  const fresh = history.filter(put);
  conversation.began = history.length < PAGE;
  if (conversation !== active) return;
  insertEarlier(fresh);
  drawHead(active);
  if (conversation.began) $('messages').focus();
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
  if (!active) return;
  readActive();
  drawSides();
});

start();
