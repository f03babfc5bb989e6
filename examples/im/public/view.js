// Drawing. Text of people goes into the page by textContent only.

import { conversations, me, nick, online, sorted, unread } from './conversations.js';

export const $ = (id) => document.getElementById(id);

const STATES = {
  open: 'Live',
  connecting: 'Connecting…',
  offline: 'Offline: messages will come when you are back',
  closed: 'Signed out',
};

/** On a narrow screen the list and the conversation take turns. */
export function inTalk() {
  return document.body.classList.contains('talk') || matchMedia('(min-width: 45rem)').matches;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const unseen = (text) => element('span', { className: 'unseen', textContent: text });

export function drawState(state) {
  $('state').className = state;
  $('state').textContent = STATES[state];
}

export function drawList(active, select) {
  const lists = { room: [], person: [] };
  let all = 0;
  // Rooms as they were made; people: who is online first, by name.
  const order = (a, b) => (a.kind === 'person' && b.kind === 'person' ? isOnline(b) - isOnline(a) || a.title.localeCompare(b.title) : 0);
  for (const conversation of [...conversations.values()].sort(order)) {
    if (conversation.gone && conversation.messages.size === 0) continue;
    const count = unread(conversation);
    all += count;
    const button = element('button', {
      type: 'button',
      className: conversation.gone ? 'gone' : '',
      onclick: () => select(conversation, true),
    }, face(conversation, isOnline(conversation)), element('span', { className: 'name', textContent: conversation.title }));
    button.dataset.key = conversation.key;
    if (conversation.kind === 'person') button.append(unseen(isOnline(conversation) ? ', online' : ', offline'));
    if (count) button.append(element('span', { className: 'unread', textContent: count }, unseen(' unread')));
    button.setAttribute('aria-current', conversation === active);
    lists[conversation.kind].push(element('li', {}, button));
  }
  replace($('rooms'), lists.room);
  replace($('people'), lists.person.length ? lists.person : [element('li', { className: 'nobody', textContent: 'Nobody else is here yet.' })]);
  document.title = all ? `(${all}) Push chat` : 'Push chat';
}

/** Draws a list anew and leaves the keyboard where it was. */
function replace(list, items) {
  const focused = list.contains(document.activeElement) && document.activeElement.dataset.key;
  list.replaceChildren(...items);
  if (focused) (list.querySelector(`[data-key="${focused}"]`) ?? list.querySelector('button'))?.focus();
}

const isOnline = ({ kind, id, gone }) => kind === 'person' && !gone && online.has(id);

function face({ kind, id, title }, dot) {
  const letter = kind === 'room' ? '#' : [...title][0].toUpperCase();
  const made = element('span', { className: `face tone-${kind === 'room' ? 'room' : id % 6}`, textContent: letter });
  if (dot) made.append(element('span', { className: 'dot' }));
  made.setAttribute('aria-hidden', 'true');
  return made;
}

export function drawConversation(active) {
  const messages = sorted(active);
  // A whole conversation is not news to be read out; what comes later is.
  $('messages').setAttribute('aria-live', 'off');
  $('messages').replaceChildren(...messages.map(draw));
  markGroups();
  $('messages').scrollTop = $('messages').scrollHeight;
  atEnd = true;
  setTimeout(() => $('messages').setAttribute('aria-live', 'polite'));
  drawHead(active);
  drawTyping(active);
}

export function drawHead(active) {
  const { kind, gone, title, began, messages } = active;
  $('title').textContent = title;
  $('about').textContent = kind === 'room' ? `${online.size} online` : gone ? 'has left' : isOnline(active) ? 'online' : 'offline';
  $('earlier').hidden = began || messages.size === 0;
  $('text').disabled = $('send').querySelector('button').disabled = gone;
  $('text').placeholder = gone ? `${title} has left` : 'Write a message';
}

export function drawTyping({ typing }) {
  const names = [...typing.keys()].map(nick);
  const text = names.length > 2 ? 'Several people are writing…' : names.length ? `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} writing…` : '';
  if ($('typing').textContent !== text) $('typing').textContent = text;
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
  Object.assign(made.dataset, { id: message.id, from: message.from.id, time: message.time });
  made.classList.toggle('mine', message.from.id === me.id);
  return made;
}

const isAtEnd = (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 80;

let atEnd = true;
$('messages').addEventListener('scroll', ({ target }) => atEnd = isAtEnd(target));
// Who reads the end still does when the keyboard of a phone opens, or the phone is turned.
new ResizeObserver(([{ target }]) => {
  if (atEnd) target.scrollTop = target.scrollHeight;
}).observe($('messages'));

/** Puts a message in its place, nearly always the last one. */
export function insert(message) {
  const list = $('messages');
  atEnd = isAtEnd(list);
  const before = [...list.children].findLast((item) => Number(item.dataset.id) < message.id);
  const made = draw(message);
  before ? before.after(made) : list.prepend(made);
  markGroups();
  if (atEnd || message.from.id === me.id) list.scrollTop = list.scrollHeight;
}

/** Puts older messages above, and leaves what is read where it is. */
export function insertEarlier(messages) {
  const list = $('messages');
  const fromEnd = list.scrollHeight - list.scrollTop;
  for (const message of messages) insert(message);
  list.scrollTop = list.scrollHeight - fromEnd;
  atEnd = isAtEnd(list);
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

export function problem(form, text) {
  $(form).querySelector('.problem').textContent = text;
}
