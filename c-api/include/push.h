/* libpush: publish to browsers from C. Generated from the Rust sources, do not edit. */

#ifndef PUSH_H
#define PUSH_H

/**
 * What a call comes back with: `PUSH_OK` or the number of what went wrong. A number is never reused.
 */
typedef int push_status;

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

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this library, such as "0.1.0".
 *
 * The text lives as long as the library is loaded.
 */
const char *push_version(void);

/**
 * What a status means, as an English sentence; never NULL, also for a number that is none.
 *
 * The text lives as long as the library is loaded.
 */
const char *push_status_text(push_status status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PUSH_H */
