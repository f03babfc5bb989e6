// What the page knows: rooms and people, what was said there, what is unread, who is online, who is writing.
//
// One rule keeps the messages right: whatever way a message comes (history, hub, answer to our own sending), it goes through
// put(), which knows each by its id. So nothing comes twice, and the order is that of the ids, for everybody.

const TYPING = 5000;

/** 'room:1', 'person:7' -> {key, kind, id, title, gone, messages: Map, read, saving, cut, began, typing: Map} */
export const conversations = new Map();

/** Who is online, by id. */
export const online = new Set();

export let me = null;

export function setMe(person) {
  me = person;
}

export const target = ({ kind, id }) => (kind === 'room' ? { room: id } : { to: id });

export function open(kind, { id, name, nick }) {
  if (kind === 'person' && id === me.id) return null;
  const key = `${kind}:${id}`;
  const known = conversations.get(key);
  if (known) {
    known.gone = false;
    return known;
  }
  const made = { key, kind, id, title: name ?? nick, gone: false, messages: new Map(), read: 0, saving: 0, cut: 0, began: true, typing: new Map() };
  conversations.set(key, made);
  return made;
}

/** Where a message belongs; a person who signed out meanwhile is there again for it. */
export function conversationOf({ room, from, to }) {
  if (room !== null) return conversations.get(`room:${room}`);
  const other = from.id === me.id ? to : from;
  const known = conversations.get(`person:${other.id}`);
  if (known) return known;
  const made = open('person', other);
  made.gone = true;
  return made;
}

/** Keeps a message. False: it is there already, or in a room that this page does not know. */
export function put(message) {
  const conversation = conversationOf(message);
  if (!conversation || conversation.messages.has(message.id)) return false;
  conversation.messages.set(message.id, message);
  conversation.typing.delete(message.from.id);
  return true;
}

/** Something may be missing after what is known now, until a history is merged. */
export function cut() {
  for (const conversation of conversations.values()) {
    conversation.cut ||= Math.max(0, ...conversation.messages.keys());
  }
}

/**
 * Keeps a history: of each conversation its newest messages, `page` of them if it has so many. Where it does not reach back
 * to the cut, what is before the cut goes: between the two there may be others.
 */
export function merge(history, page) {
  const found = new Map();
  for (const message of history) {
    const conversation = conversationOf(message);
    found.set(conversation, [...(found.get(conversation) ?? []), message]);
  }
  for (const conversation of conversations.values()) {
    const messages = found.get(conversation) ?? [];
    if (messages.length < page) {
      conversation.began = true;
    } else if (messages[0].id > conversation.cut) {
      for (const id of conversation.messages.keys()) if (id <= conversation.cut) conversation.messages.delete(id);
      conversation.began = false;
    }
    conversation.cut = 0;
    messages.forEach(put);
  }
}

export const sorted = ({ messages }) => [...messages.values()].sort((a, b) => a.id - b.id);

export const unread = ({ messages, read }) => [...messages.values()].filter(({ id, from }) => id > read && from.id !== me.id).length;

/** Read up to there. False: that was known. */
export function markRead(conversation, message) {
  if (message <= conversation.read) return false;
  conversation.read = message;
  return true;
}

/** Somebody is writing there, for the next seconds. `changed` is called now and when it is over. */
export function heardTyping(conversation, person, changed) {
  clearTimeout(conversation.typing.get(person));
  conversation.typing.set(person, setTimeout(() => {
    conversation.typing.delete(person);
    changed();
  }, TYPING));
  changed();
}

export function nick(person) {
  return person === me.id ? me.nick : conversations.get(`person:${person}`)?.title ?? 'Somebody';
}
