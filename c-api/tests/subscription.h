/* Waits for what a subscription gets. */
#ifndef SUBSCRIPTION_H
#define SUBSCRIPTION_H

#include "test.h"

#include <poll.h>

static inline int readable(const push_subscription *subscription, int milliseconds) {
    struct pollfd waiting;
    waiting.fd = push_subscription_fd(subscription);
    waiting.events = POLLIN;
    waiting.revents = 0;
    return poll(&waiting, 1, milliseconds) == 1;
}

/* The next message, at the latest after 20 s without any; failures to reach a hub are counted in `away`. */
static inline push_message *awaited(push_subscription *subscription, int *away) {
    push_message *message = NULL;
    for (;;) {
        push_status status = push_subscription_next(subscription, &message);
        if (status != PUSH_OK) {
            CHECK(away != NULL && (status == PUSH_HUB_UNAVAILABLE || status == PUSH_TIMEOUT));
            if (away == NULL) {
                return NULL;
            }
            ++*away;
        } else if (message != NULL) {
            return message;
        }
        if (!readable(subscription, 20000)) {
            CHECK(!"a message in time");
            return NULL;
        }
    }
}

/* It must be this one. */
static inline void expect(push_subscription *subscription, const char *channel, const char *payload) {
    push_message *message = awaited(subscription, NULL);
    CHECK(push_message_type(message) == PUSH_MESSAGE);
    CHECK(is(push_message_channel(message), channel) && holds(push_message_payload(message), payload, strlen(payload)));
    CHECK(push_message_position(message) == push_subscription_position(subscription));
    push_message_free(message);
}

/* There must be none. */
static inline void expect_none(push_subscription *subscription) {
    push_message *message = NULL;
    OK(push_subscription_next(subscription, &message));
    CHECK(message == NULL && !readable(subscription, 0));
    push_message_free(message);
}

#endif
