/* libpush: publish to browsers from C. Generated from the Rust sources, do not edit.
 *
 * Names: push_<verb>() acts on a client, push_<type>_<verb>() on anything else. Arguments come in the order handle, inputs,
 * outputs; outputs (..._out) are written only when the call returns PUSH_OK.
 *
 * Ownership: what a function gives through a pointer to a pointer is the caller's, who frees it with the function that is named
 * there. All _free functions take NULL. What a _borrow function or an accessor gives belongs to what it was asked of. Arguments
 * are borrowed for the length of the call. Nothing is to be freed with free().
 *
 * Text and bytes: pointer and length (push_text, push_bytes), where NULL is allowed with length 0 only. A NULL where something
 * is needed is PUSH_NULL_ARGUMENT.
 *
 * Errors: a call that can fail returns a push_status; push_last_error() has a sentence about the last failure of the thread.
 * After any error handles can be used and freed.
 *
 * Threads: any thread may use any handle, unless its type says otherwise, but must not free what another one is using.
 *
 * Forks: a forked child may free every handle. Which ones it may use is said with their types. Calls are not for signal
 * handlers, and not for a child of a program with several threads between fork() and exec().
 */

#ifndef PUSH_H
#define PUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header. */
#define PUSH_VERSION "0.1.0"

/** The version of this header as a number that grows: 1 is 0.0.1, 1000 is 0.1.0, 1000000 is 1.0.0. */
#define PUSH_VERSION_NUMBER (PUSH_VERSION_MAJOR * 1000000 + PUSH_VERSION_MINOR * 1000 + PUSH_VERSION_PATCH)

/** The second of a position, counted from 1970. */
#define PUSH_POSITION_TIME(position) ((uint32_t)((position) >> 32))

/** The number of a position within its second, from 1. */
#define PUSH_POSITION_TAG(position) ((uint32_t)((position) & 0xffffffffu))

/**
 * Of the version of this header, the number before the first dot.
 */
#define PUSH_VERSION_MAJOR 0

/**
 * Of the version of this header, the number between the dots.
 */
#define PUSH_VERSION_MINOR 1

/**
 * Of the version of this header, the number after the second dot.
 */
#define PUSH_VERSION_PATCH 0

/**
 * Bytes that hold any token with a NUL.
 */
#define PUSH_TOKEN_SIZE 6145

/**
 * Bytes that hold any channel name with a NUL.
 */
#define PUSH_NAME_SIZE 1025

/**
 * Bytes that hold a generated channel name with a NUL.
 */
#define PUSH_GENERATED_NAME_SIZE 32

/**
 * The most channels or messages that a page may have.
 */
#define PUSH_MAX_PAGE 10000

/**
 * In `flags` of a channel: nobody is a member of it, whoever subscribes.
 */
#define PUSH_WITHOUT_PRESENCE 1

/**
 * A log line says what keeps the hub from doing its work.
 */
#define PUSH_LOG_ERROR 1

/**
 * A log line says what an operator should look at.
 */
#define PUSH_LOG_WARN 2

/**
 * A log line is about starts, ends and limits.
 */
#define PUSH_LOG_INFO 3

/**
 * A log line is about a single connection.
 */
#define PUSH_LOG_DEBUG 4

/**
 * The type of what was published.
 */
#define PUSH_MESSAGE 0

/**
 * The type of a gap: messages before its position are missing, because they had expired, or the hub is another one. What follows
 * is complete again. It has nothing but its position.
 */
#define PUSH_GAP 1

/**
 * The type of the end of a channel: it was deleted, and the subscription goes on without it. It has the channel, its position, and as
 * payload what the subscribers are told.
 */
#define PUSH_CHANNEL_DELETED 2

/**
 * The position before everything: all that is stored.
 */
#define PUSH_POSITION_START 0

/**
 * For `push_subscribe()`: what comes from now on.
 */
#define PUSH_POSITION_NOW 18446744073709551615ull

/**
 * Bytes that hold any position as text, with its NUL.
 */
#define PUSH_POSITION_SIZE 24

/**
 * In `flags` of a message: the payload is JSON text. Subscribers who ask for JSON get it as the value it is.
 */
#define PUSH_JSON 1

/**
 * In `flags` of a message: only the subscriptions open at that moment get it; it is not stored, and its absence is no gap.
 */
#define PUSH_UNSTORED 2

/**
 * A channel's counters at one moment. Any thread may read one, a forked child too.
 */
typedef struct push_channel push_channel;

/**
 * A page of channels.
 */
typedef struct push_channel_list push_channel_list;

/**
 * The way to a hub. Threads may share one: each call takes a lock for its length, so that a thread waits at most
 * `timeout` for each call of another; a client for each thread spares that and costs a ring (`ring_size`) each. A forked child
 * may go on using it: it attaches anew there and leaves the parent's ring alone.
 */
typedef struct push_client push_client;

/**
 * A configuration: the keys of the manual (docs/configuration.md) with their values. For one thread at a time.
 */
typedef struct push_config push_config;

/**
 * A hub in this process: threads of its own, which browsers reach through its addresses and the program through
 * `push_client_embedded()`. Any thread may use it.
 */
typedef struct push_hub push_hub;

/**
 * A user who is online, at one moment. Any thread may read one, a forked child too.
 */
typedef struct push_member push_member;

/**
 * A page of members.
 */
typedef struct push_member_list push_member_list;

/**
 * A message. Any thread may read one, a forked child too.
 */
typedef struct push_message push_message;

/**
 * A page of messages.
 */
typedef struct push_message_list push_message_list;

/**
 * Names of users or channels.
 */
typedef struct push_name_list push_name_list;

/**
 * A subscription to channels: an attach of its own, so that calls of a client never wait for it. For one thread at a time. A forked
 * child may only free it.
 */
typedef struct push_subscription push_subscription;

/**
 * What a call comes back with: `PUSH_OK` or the number of what went wrong. A number is never reused.
 */
typedef int push_status;

/**
 * Text: UTF-8 of `len` bytes, without a NUL at its end. `data` may be NULL when `len` is 0. `push_str()` makes one of a
 * C string.
 */
typedef struct {
  /**
   * The first byte.
   */
  const char *data;
  /**
   * How many bytes there are.
   */
  size_t len;
} push_text;

/**
 * What a channel may be given. `push_channel_options_init()` sets `size` and makes all else 0, which means the default.
 */
typedef struct {
  /**
   * `sizeof(push_channel_options)`
   */
  size_t size;
  /**
   * The user whose private channel it is; borrowed for the call.
   */
  push_text owner;
  /**
   * Seconds without use after which it goes; 0: 24 hours.
   */
  uint32_t ttl;
  /**
   * Stored messages it keeps; 0: `max_messages_stored_per_channel`.
   */
  uint32_t max_messages;
  /**
   * Seconds a stored message lives; 0: `message_ttl`.
   */
  uint32_t message_ttl;
  /**
   * `PUSH_WITHOUT_PRESENCE` or 0.
   */
  uint32_t flags;
} push_channel_options;

/**
 * Bytes of any kind, also NUL. `data` may be NULL when `len` is 0. `push_data()` makes one of a pointer and a length.
 */
typedef struct {
  /**
   * The first byte.
   */
  const void *data;
  /**
   * How many bytes there are.
   */
  size_t len;
} push_bytes;

/**
 * The state of a hub at one moment. Set `size` before it is filled: `push_counters_init()` does.
 */
typedef struct {
  /**
   * `sizeof(push_counters)`
   */
  size_t size;
  /**
   * Seconds since it started.
   */
  uint64_t uptime;
  /**
   * Channels that exist.
   */
  uint64_t channels;
  /**
   * Subscriptions open now.
   */
  uint64_t subscribers;
  /**
   * Messages stored now.
   */
  uint64_t messages;
  /**
   * Bytes counted against `memory_limit`.
   */
  uint64_t memory;
  /**
   * The head: the position after which everything is yet to come.
   */
  uint64_t position;
  /**
   * Its process.
   */
  uint32_t pid;
  /**
   * Version of its build, NUL-terminated.
   */
  char version[28];
  /**
   * The path clients attach to, NUL-terminated; empty for a hub in this process.
   */
  char socket[112];
} push_counters;

/**
 * Gets a log line: its level, one of `PUSH_LOG_ERROR` to `PUSH_LOG_DEBUG`; the line, borrowed for the call; and what was given to
 * `push_log_to()`. Called on threads of the hub and on those that make calls, also on several at a time. It must return soon,
 * and must call neither `push_log_to()` nor a function that ends a hub.
 */
typedef void (*push_log_callback)(int level, push_text line, void *user);

/**
 * What a publisher may say about a message. `push_publish_options_init()` sets `size` and makes all else 0, which means the
 * default. The texts are borrowed for the call.
 */
typedef struct {
  /**
   * `sizeof(push_publish_options)`
   */
  size_t size;
  /**
   * The name of the event, 1 to 1024 bytes without line breaks and NUL.
   */
  push_text event;
  /**
   * The publisher's own id of it, 1 to 1024 bytes without line breaks and NUL.
   */
  push_text event_id;
  /**
   * The channel takes one message only with the same key within `dedupe_window` (5 minutes); a second call gets the result of the
   * first. 1 to 1024 bytes without line breaks and NUL.
   */
  push_text dedupe;
  /**
   * Seconds to keep it; 0: the `message_ttl` of the channel.
   */
  uint32_t ttl;
  /**
   * `PUSH_JSON`, `PUSH_UNSTORED`, both or 0.
   */
  uint32_t flags;
} push_publish_options;

/**
 * What a publisher learns of its message.
 */
typedef struct {
  /**
   * The channel's number of the message, from 1.
   */
  uint64_t id;
  /**
   * Its position.
   */
  uint64_t position;
  /**
   * Subscriptions open on the channel at that moment.
   */
  uint64_t subscribers;
} push_published;

/**
 * One message of `push_publish_many()`. All of it is borrowed for the call.
 */
typedef struct {
  /**
   * The channel's name.
   */
  push_text channel;
  /**
   * The body.
   */
  push_bytes payload;
  /**
   * What there is to say about it, or NULL.
   */
  const push_publish_options *options;
} push_publication;

/**
 * The call did what it says.
 */
#define PUSH_OK 0

/**
 * The text is no channel name; the call can never succeed with it.
 */
#define PUSH_INVALID_NAME 1

/**
 * Another argument is wrong.
 */
#define PUSH_INVALID_ARGUMENT 2

/**
 * The payload is over `max_message_size`.
 */
#define PUSH_TOO_LARGE 3

/**
 * A configured maximum is reached.
 */
#define PUSH_LIMIT_EXCEEDED 4

/**
 * There is no such channel.
 */
#define PUSH_CHANNEL_NOT_FOUND 5

/**
 * The caller may not do this.
 */
#define PUSH_ACCESS_DENIED 6

/**
 * No hub answers: not started, ended during the call, or its socket is out of reach.
 */
#define PUSH_HUB_UNAVAILABLE 7

/**
 * The hub did not answer in time. An acknowledged call may still take effect.
 */
#define PUSH_TIMEOUT 8

/**
 * Hub and library are of builds that do not speak the same protocol.
 */
#define PUSH_INCOMPATIBLE 9

/**
 * A pointer that must lead somewhere is NULL.
 */
#define PUSH_NULL_ARGUMENT -1

/**
 * A defect of the library. The call may have been done by half; the handles can be used and freed.
 */
#define PUSH_PANIC -2

/**
 * This process is a forked child, and what the call is about is in its parent.
 */
#define PUSH_FORKED -3

/**
 * A key, a value or a file of the configuration is wrong.
 */
#define PUSH_INVALID_CONFIG -4

/**
 * A hub cannot be started here: an address is taken, or its configuration does not fit together.
 */
#define PUSH_START_FAILED -5

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this library, such as "0.1.0". That of the header is `PUSH_VERSION`.
 *
 * The text lives as long as the library is loaded. Any thread and a forked child may call it.
 */
const char *push_version(void);

/**
 * The version of this library as a number, to be compared with the `PUSH_VERSION_NUMBER` of the header.
 *
 * Any thread and a forked child may call it.
 */
uint32_t push_version_number(void);

/**
 * Signs a token for a browser: it opens these channels to whoever sends it, and says who that is.
 *
 * `channels`: `count` of them, one at least; each a name, or what names begin with and `*`. `user`: whose connections they are;
 * `len` 0: nobody's. `ttl`: seconds, 2592000 at most; 0: 3600. `info`: a JSON object that presence tells others about the
 * user; `len` 0: nothing. `publish`: its holder may publish there, too. `token_out`: gets the token and a NUL; it has `size` bytes,
 * `PUSH_TOKEN_SIZE` at least.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_token(const push_client *client,
                       const push_text *channels,
                       size_t count,
                       push_text user,
                       uint32_t ttl,
                       push_text info,
                       bool publish,
                       char *token_out,
                       size_t size);

/**
 * Ends connections of browsers: those of a user, those to a channel, or where both are given those of the user to the channel.
 *
 * `user`, `channel`: one of them with `len` above 0. `reason`: what they are told, one line of at most 123 bytes. `revoke`: tokens
 * that were issued until now open nothing any more: those of the user, for the channel, or both. `count_out`: how many
 * connections there were; may be NULL. Arguments are borrowed for the call.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT` (also when there is neither), `PUSH_LIMIT_EXCEEDED`,
 * `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
 */
push_status push_disconnect(const push_client *client,
                            push_text user,
                            push_text channel,
                            push_text reason,
                            bool revoke,
                            uint64_t *count_out);

/**
 * Creates a channel, or gives an existing one these options.
 *
 * `name`: 1 to `max_channel_id_length` bytes of UTF-8, without NUL and slash; with `len` 0 the channel gets an unguessable name.
 * `options`: NULL for the defaults. `name_out`: gets the name and a NUL; it has `size` bytes, for a generated name
 * `PUSH_GENERATED_NAME_SIZE` at least. It may be NULL with a name given.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT` (also when `size` is too small), `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`,
 * `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
 */
push_status push_create_channel(const push_client *client,
                                push_text name,
                                const push_channel_options *options,
                                char *name_out,
                                size_t size);

/**
 * Deletes a channel with its messages and tells its subscribers.
 *
 * `message`: what they are told; `len` 0: `channel_deleted_message_text`. `existed_out`: whether there was one; may be NULL.
 * Arguments are borrowed for the call.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_TOO_LARGE`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and
 * `PUSH_HUB_UNAVAILABLE` during the call leave it open.
 */
push_status push_delete_channel(const push_client *client,
                                push_text channel,
                                push_bytes message,
                                bool *existed_out);

/**
 * Drops the stored messages of a channel and keeps its subscribers. A channel that does not exist has none.
 *
 * `count_out`: how many there were; may be NULL.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE`
 * during the call leave it open.
 */
push_status push_clear_channel(const push_client *client,
                               push_text channel,
                               uint64_t *count_out);

/**
 * The counters of a channel.
 *
 * `info_out`: gets them, to be freed with `push_channel_free()`.
 *
 * Errors: `PUSH_CHANNEL_NOT_FOUND`; `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_channel_info(const push_client *client,
                              push_text channel,
                              push_channel **info_out);

/**
 * A page of the channels in the order of their names.
 *
 * `prefix`: what the names begin with; `len` 0 for all. `after`: the name after which the page begins; `len` 0 for the first page.
 * `limit`: channels on the page, 1 to `PUSH_MAX_PAGE`; one with fewer is the last. `list_out`: gets the page, to be freed with
 * `push_channel_list_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_channels(const push_client *client,
                          push_text prefix,
                          push_text after,
                          uint32_t limit,
                          push_channel_list **list_out);

/**
 * How many channels the page has; 0 for NULL.
 */
size_t push_channel_list_count(const push_channel_list *list);

/**
 * A channel of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
 */
const push_channel *push_channel_list_borrow(const push_channel_list *list, size_t index);

/**
 * Frees a page and its channels; NULL is fine.
 */
void push_channel_list_free(push_channel_list *list);

/**
 * Its name, valid until the channel or its page is freed; empty for NULL.
 */
push_text push_channel_name(const push_channel *channel);

/**
 * The user given when it was created, valid until the channel or its page is freed; empty without one, and for NULL.
 */
push_text push_channel_owner(const push_channel *channel);

/**
 * Messages published since it exists; 0 for NULL.
 */
uint64_t push_channel_published(const push_channel *channel);

/**
 * Messages stored at that moment; 0 for NULL.
 */
uint32_t push_channel_stored(const push_channel *channel);

/**
 * Subscriptions open at that moment; 0 for NULL.
 */
uint32_t push_channel_subscribers(const push_channel *channel);

/**
 * Seconds without use after which it goes; 0 for a channel that was made by use alone, and for NULL.
 */
uint32_t push_channel_ttl(const push_channel *channel);

/**
 * The position of its newest message; `PUSH_POSITION_START` before the first, and for NULL.
 */
uint64_t push_channel_position(const push_channel *channel);

/**
 * Frees what `push_channel_info()` gave; NULL is fine. Not for a channel of a page.
 */
void push_channel_free(push_channel *channel);

/**
 * A client that attaches to the hub at `socket` of the configuration. It attaches at its first call, so that a program can
 * open it before the hub runs and before it forks; after the hub's end it attaches to the next one.
 *
 * `config`: what it says is copied; NULL for the defaults, which lead to the hub of the system, or of this user.
 * `client_out`: gets the client, to be freed with `push_client_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_HUB_UNAVAILABLE` when there is no memory for it.
 */
push_status push_client_open(const push_config *config,
                             push_client **client_out);

/**
 * A client of the hub in this process: its calls are function calls and wait for nothing but each other.
 *
 * `hub`: not NULL; it may be stopped before the client is freed, whose calls then fail.
 * `client_out`: gets the client, to be freed with `push_client_free()`. In a forked child its calls return `PUSH_FORKED`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE` when there is no memory for it.
 */
push_status push_client_embedded(const push_hub *hub,
                                 push_client **client_out);

/**
 * Whether the hub answers. Asks also while other calls fail at once because the hub did not answer a moment ago.
 *
 * `milliseconds`: how long to wait, at least 1.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_client_ping(const push_client *client,
                             uint32_t milliseconds);

/**
 * The state of the hub.
 *
 * `counters_out`: initialized by `push_counters_init()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when it is not initialized; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`;
 * `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_client_status(const push_client *client,
                               push_counters *counters_out);

/**
 * The head: the position after which everything is yet to come. It is valid for any channels.
 *
 * `position_out`: not NULL.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_position(const push_client *client, uint64_t *position_out);

/**
 * Frees a client; NULL is fine. No other thread may be using it. What it has published asynchronously is still delivered.
 */
void push_client_free(push_client *client);

/**
 * A configuration in which every key has its default. It is the caller's, to be freed with `push_config_free()`.
 *
 * Any thread and a forked child may call it.
 */
push_config *push_config_new(void);

/**
 * Sets a key from its text, as it stands in a configuration file: `push_config_set(config, "message_ttl", "10m")`.
 *
 * `key`, `value`: NUL-terminated UTF-8, borrowed for the call. `docs/configuration.md` lists keys and values.
 * A configuration belongs to one thread at a time; a forked child has a copy of its own.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when a text is not UTF-8; `PUSH_INVALID_CONFIG` when there is no such
 * key or it does not take the value. Nothing is changed then.
 */
push_status push_config_set(push_config *config,
                            const char *key,
                            const char *value);

/**
 * Sets what a TOML file says.
 *
 * `file`: its path, NUL-terminated, borrowed for the call.
 * A configuration belongs to one thread at a time; a forked child has a copy of its own.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_CONFIG` when the file cannot be read or is wrong: `push_last_error()` names the
 * line. What stands before the wrong line may have been set.
 */
push_status push_config_load(push_config *config,
                             const char *file);

/**
 * Frees a configuration; NULL is fine. Clients and hubs that were made from it have copies.
 */
void push_config_free(push_config *config);

/**
 * Starts a hub in this process. It has no `socket`, so that nobody else can attach, and an `admin_listen` only where that was
 * set; port 0 is any free one. Its threads block all signals. Start it after the last fork: a child has no threads of it.
 *
 * `config`: what it says is copied; NULL for the defaults. `hub_out`: gets the hub, to be ended with `push_hub_stop()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_START_FAILED`: an address is taken or out of reach, keys do not go together, or the system has
 * no thread or descriptor left: `push_last_error()` says which. Nothing is left behind then.
 */
push_status push_hub_start(const push_config *config,
                           push_hub **hub_out);

/**
 * Where browsers reach the hub, in the order of `listen`: "127.0.0.1:40001" or "unix:/path", with the ports that it got.
 *
 * `index`: from 0. The text is valid until the hub is stopped; NULL beyond the last address, and for a NULL hub. Any thread and a
 * forked child may call it.
 */
const char *push_hub_address(const push_hub *hub,
                             size_t index);

/**
 * The same for `admin_listen`, where publishers and statistics are.
 */
const char *push_hub_admin_address(const push_hub *hub, size_t index);

/**
 * The state of the hub.
 *
 * `counters_out`: initialized by `push_counters_init()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when it is not initialized; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE` when it has ended.
 */
push_status push_hub_counters(const push_hub *hub,
                              push_counters *counters_out);

/**
 * Ends the service of the hub: it accepts no more and answers everyone who waits with a position. Returns when that is done, at the
 * latest after `drain_timeout` (10 s). Calls of its clients fail from now on. A second time it does nothing.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`.
 */
push_status push_hub_drain(const push_hub *hub);

/**
 * Drains the hub, unless that was done, and frees it; NULL is fine. Its clients are freed separately, before or after. In a
 * forked child it frees the child's copy and does nothing to the hub.
 */
void push_hub_stop(push_hub *hub);

/**
 * Gives the log lines of the hubs in this process to a function, instead of to what `log` says. `log_level` of the first hub
 * says which lines there are. Returns when the function before is not running any more and will not be called again.
 *
 * `callback`: NULL for the log of the configuration again. `user`: handed to it as it is. Any thread may call this; in a forked
 * child there are no hubs and no lines.
 *
 * Errors: none.
 */
push_status push_log_to(push_log_callback callback,
                        void *user);

/**
 * A page of a channel's stored messages, oldest first. A channel that does not exist has none.
 *
 * `after`: the position after which the page begins; `PUSH_POSITION_START` for the oldest stored. `limit`: messages on the page, 1 to
 * `PUSH_MAX_PAGE`; it also ends at 1 MB of messages. The next page begins after the position of its last message; an empty page is
 * the end. `list_out`: gets the page, to be freed with `push_message_list_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_history(const push_client *client,
                         push_text channel,
                         uint64_t after,
                         uint32_t limit,
                         push_message_list **list_out);

/**
 * How many messages the page has; 0 for NULL.
 */
size_t push_message_list_count(const push_message_list *list);

/**
 * A message of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
 */
const push_message *push_message_list_borrow(const push_message_list *list, size_t index);

/**
 * Frees a page and its messages; NULL is fine.
 */
void push_message_list_free(push_message_list *list);

/**
 * `PUSH_MESSAGE`, `PUSH_GAP` or `PUSH_CHANNEL_DELETED`; -1 for NULL.
 */
int push_message_type(const push_message *message);

/**
 * The name of its channel, valid until the message or its page is freed; empty for NULL.
 */
push_text push_message_channel(const push_message *message);

/**
 * Its body, valid until the message or its page is freed; empty for NULL.
 */
push_bytes push_message_payload(const push_message *message);

/**
 * Whether its publisher gave it as JSON; false for NULL.
 */
bool push_message_is_json(const push_message *message);

/**
 * The name of its event, valid until the message or its page is freed; empty without one, and for NULL.
 */
push_text push_message_event(const push_message *message);

/**
 * The publisher's own id of it, valid until the message or its page is freed; empty without one, and for NULL.
 */
push_text push_message_event_id(const push_message *message);

/**
 * The channel's number of it, from 1; 0 for NULL.
 */
uint64_t push_message_id(const push_message *message);

/**
 * Frees what `push_subscription_next()` gave; NULL is fine. Not for a message of a page.
 */
void push_message_free(push_message *message);

/**
 * Its position; `PUSH_POSITION_START` for NULL. `PUSH_POSITION_TIME()` gives the second of its publication.
 */
uint64_t push_message_position(const push_message *message);

/**
 * Writes a position as browsers and PHP know it, such as "1767225600.3".
 *
 * `text_out`: `size` bytes, of which `PUSH_POSITION_SIZE` are always enough; a NUL is written behind the text.
 * Any thread and a forked child may call it.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when `size` is too small.
 */
push_status push_position_text(uint64_t position, char *text_out, size_t size);

/**
 * Reads a position from its text.
 *
 * `text`: two decimal numbers below 2^32 with a dot between. `position_out`: not NULL.
 * Any thread and a forked child may call it.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when the text is no position.
 */
push_status push_position_parse(push_text text, uint64_t *position_out);

/**
 * Sets a user online: for `ttl` seconds at least, and as long as a connection of the user lives.
 *
 * `user`: not empty. `channel`: where; `len` 0: on the whole site. `info`: a JSON object that others are told about the user; `len` 0:
 * what was said before stays. `ttl`: seconds; 0: `presence_ttl`. `changed_out`: whether the user was not online before, or
 * had other info; may be NULL. Arguments are borrowed for the call.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`,
 * `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
 */
push_status push_presence_online(const push_client *client,
                                 push_text user,
                                 push_text channel,
                                 push_text info,
                                 uint32_t ttl,
                                 bool *changed_out);

/**
 * Sets a user offline at once, without the grace. Connections stay open, and do not count until another one is made.
 *
 * `user`: not empty. `channel`: where; `len` 0: on the whole site; in its channels the user stays. `changed_out`: whether the user was online; may be NULL.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed.
 * `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
 */
push_status push_presence_offline(const push_client *client,
                                  push_text user,
                                  push_text channel,
                                  bool *changed_out);

/**
 * Whether a user is online. After the first call to the hub this is looked up in memory that the hub shares, which wakes
 * nobody.
 *
 * `user`: not empty. `channel`: where; `len` 0: on the whole site. `online_out`: not NULL.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_presence_is_online(const push_client *client,
                                    push_text user,
                                    push_text channel,
                                    bool *online_out);

/**
 * Which of these users are online, in their order. Looked up as `push_presence_is_online` does, or with one call.
 *
 * `users`: `count` of them, none empty. `channel`: where; `len` 0: on the whole site. `list_out`: gets them, to be freed with
 * `push_name_list_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_presence_among(const push_client *client,
                                const push_text *users,
                                size_t count,
                                push_text channel,
                                push_name_list **list_out);

/**
 * What is known of a user who is online.
 *
 * `user`: not empty. `channel`: where; `len` 0: on the whole site. `member_out`: gets it, to be freed with `push_member_free()`, or
 * NULL when the user is not online.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_presence_get(const push_client *client,
                              push_text user,
                              push_text channel,
                              push_member **member_out);

/**
 * A page of those who are online, in the order of the users.
 *
 * `channel`: where; `len` 0: on the whole site. `after`: the user after whom the page begins; `len` 0 for the first page. `limit`: members
 * on the page, 1 to `PUSH_MAX_PAGE`; a page also ends at 1 MiB, so the list is read when a page is empty. `list_out`: gets the page, to be
 * freed with `push_member_list_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_presence_members(const push_client *client,
                                  push_text channel,
                                  push_text after,
                                  uint32_t limit,
                                  push_member_list **list_out);

/**
 * How many users are online. Several connections of one user count once.
 *
 * `channel`: where; `len` 0: on the whole site. `count_out`: not NULL.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_presence_count(const push_client *client,
                                push_text channel,
                                uint64_t *count_out);

/**
 * The channels in which a user is online, in the order of their names.
 *
 * `user`: not empty. `list_out`: gets them, to be freed with `push_name_list_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
 */
push_status push_presence_channels(const push_client *client,
                                   push_text user,
                                   push_name_list **list_out);

/**
 * Who it is, valid until the member or its page is freed; empty for NULL.
 */
push_text push_member_user(const push_member *member);

/**
 * What others are told about the user, a JSON object, valid until the member or its page is freed; empty for NULL.
 */
push_text push_member_info(const push_member *member);

/**
 * Connections open at that moment, 0 while only `push_presence_online()` or the grace after the last one holds; 0 for NULL.
 */
uint32_t push_member_connections(const push_member *member);

/**
 * When the user joined, in seconds since 1970; 0 for NULL.
 */
uint64_t push_member_since(const push_member *member);

/**
 * Frees what `push_presence_get()` gave; NULL is fine. Not for a member of a page.
 */
void push_member_free(push_member *member);

/**
 * How many members the page has; 0 for NULL.
 */
size_t push_member_list_count(const push_member_list *list);

/**
 * A member of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
 */
const push_member *push_member_list_borrow(const push_member_list *list, size_t index);

/**
 * Frees a page and its members; NULL is fine.
 */
void push_member_list_free(push_member_list *list);

/**
 * How many names there are; 0 for NULL.
 */
size_t push_name_list_count(const push_name_list *list);

/**
 * A name of the list, which keeps it: valid until the list is freed. Empty for NULL, and beyond its end.
 */
push_text push_name_list_borrow(const push_name_list *list, size_t index);

/**
 * Frees the names; NULL is fine.
 */
void push_name_list_free(push_name_list *list);

/**
 * Publishes a message and waits for its place, at most `timeout` (250 ms).
 *
 * `channel`: 1 to `max_channel_id_length` bytes of UTF-8, without NUL and slash; it is created if need be. `payload`: 0 to `max_message_size`
 * bytes. `options`: NULL for the defaults. `published_out`: NULL when nobody wants to know. Arguments are borrowed for the call.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`:
 * nothing was published. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open: publish again with the same `dedupe`.
 */
push_status push_publish(const push_client *client,
                         push_text channel,
                         push_bytes payload,
                         const push_publish_options *options,
                         push_published *published_out);

/**
 * Publishes a message without waiting: it returns when the message is in the ring, which survives this process and the hub.
 * What only the hub can know (a configured limit) is logged there and not reported here.
 *
 * Arguments as for `push_publish()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE` (above 32 MB), `PUSH_INCOMPATIBLE`, `PUSH_FORKED`, and
 * `PUSH_TIMEOUT` when the ring stays full or `PUSH_HUB_UNAVAILABLE` when there is no hub to attach it to: nothing was published. With
 * a hub in this process it returns what `push_publish()` does.
 */
push_status push_publish_async(const push_client *client,
                               push_text channel,
                               push_bytes payload,
                               const push_publish_options *options);

/**
 * Publishes many messages in their order and waits for their places. All are checked first: none is published when one is
 * refused.
 *
 * `messages`: `count` of them, together at most 16 MB; NULL only when `count` is 0. `published_out`: room for `count` results,
 * or NULL.
 *
 * Errors: as for `push_publish()`; `PUSH_TOO_LARGE` also for the whole.
 */
push_status push_publish_many(const push_client *client,
                              const push_publication *messages,
                              size_t count,
                              push_published *published_out);

/**
 * What a status means, as an English sentence; never NULL, also for a number that is none.
 *
 * The text lives as long as the library is loaded. What went wrong in a particular call says `push_last_error()`.
 * Any thread and a forked child may call it.
 */
const char *push_status_text(push_status status);

/**
 * What went wrong in the last call of this thread that failed, as an English sentence: which value, what is allowed, what
 * to do. Never NULL; empty before the first failure.
 *
 * The text lives until the next call of this thread that fails, or until the thread ends. Calls that succeed leave it.
 * A forked child has the text of the thread that forked it.
 */
const char *push_last_error(void);

/**
 * Subscribes to channels at the hub of a client. Those that do not exist are created.
 *
 * `client`: says where the hub is; it may be freed before the subscription. `channels`: `count` names, at least 1 and at most
 * `max_channels_per_subscription`, borrowed for the call. `position`: the position of the last message seen, `PUSH_POSITION_NOW` for what comes
 * from now on, `PUSH_POSITION_START` for all that is stored. `subscription_out`: gets the subscription, to be freed with
 * `push_subscription_free()`.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_LIMIT_EXCEEDED`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
 * `PUSH_FORKED`.
 */
push_status push_subscribe(const push_client *client,
                           const push_text *channels,
                           size_t count,
                           uint64_t position,
                           push_subscription **subscription_out);

/**
 * A descriptor that is readable as long as there may be a message, for `poll()`, `select()`, `epoll` and event loops. It is the same
 * during the whole life of the subscription, also when the hub is another; nobody but the library reads it. When it is readable call
 * `push_subscription_next()`. -1 for NULL.
 */
int push_subscription_fd(const push_subscription *subscription);

/**
 * What came next. Does not wait for messages; to find a hub again it waits at most `timeout`.
 *
 * `message_out`: gets a message, to be freed with `push_message_free()`, or NULL when there is none now: wait for the descriptor.
 * `push_message_type()` tells a message from a gap and from the end of a channel.
 *
 * Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE`, `PUSH_TIMEOUT`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`: the hub is gone and no other one has taken
 * the subscription so far. Keep it and wait for the descriptor, which is readable when it is time to call again; when a hub is there
 * it goes on after the last message, and says what it misses as a gap.
 */
push_status push_subscription_next(push_subscription *subscription,
                                   push_message **message_out);

/**
 * The position up to which `push_subscription_next()` has given everything: keep it, and `push_subscribe()` goes on from there.
 * `PUSH_POSITION_START` for NULL.
 */
uint64_t push_subscription_position(const push_subscription *subscription);

/**
 * Ends a subscription and frees it; NULL is fine. Messages that it gave stay. In a forked child it goes on in the parent.
 */
void push_subscription_free(push_subscription *subscription);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/** A text of a C string; NULL is the empty text. */
static inline push_text push_str(const char *string) {
    push_text text;
    text.data = string;
    text.len = 0;
    if (string != NULL) {
        while (string[text.len] != '\0') {
            text.len++;
        }
    }
    return text;
}

/** Bytes of a pointer and a length. */
static inline push_bytes push_data(const void *data, size_t len) {
    push_bytes bytes;
    bytes.data = data;
    bytes.len = len;
    return bytes;
}

/** The bytes of a C string, without its NUL. */
static inline push_bytes push_str_data(const char *string) {
    push_text text = push_str(string);
    return push_data(text.data, text.len);
}

/** Makes everything the default. */
static inline void push_publish_options_init(push_publish_options *options) {
    options->size = sizeof *options;
    options->event = options->event_id = options->dedupe = push_str(NULL);
    options->ttl = options->flags = 0;
}

/** Makes everything the default. */
static inline void push_channel_options_init(push_channel_options *options) {
    options->size = sizeof *options;
    options->owner = push_str(NULL);
    options->ttl = options->max_messages = options->message_ttl = options->flags = 0;
}

/** Makes it ready to be filled. */
static inline void push_counters_init(push_counters *counters) {
    counters->size = sizeof *counters;
}

#endif  /* PUSH_H */
