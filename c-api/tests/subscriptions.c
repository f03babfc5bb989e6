/* What a subscription gets: stored and live messages in order, each once, gaps, the end of a channel. */
#define _POSIX_C_SOURCE 200809L
#include "subscription.h"

#include <sys/wait.h>
#include <unistd.h>

static void publish(const push_client *client, const char *channel, const char *payload) {
    OK(push_publish(client, push_str(channel), push_str_data(payload), NULL, NULL));
}

static void live_and_stored(const push_client *client) {
    push_text channels[2];
    push_subscription *now = NULL, *all = NULL;
    push_publish_options options;
    push_published published;
    push_message *message;
    channels[0] = push_str("sub-a");
    channels[1] = push_str("sub-b");
    publish(client, "sub-a", "stored");
    OK(push_subscribe(client, channels, 2, PUSH_POSITION_NOW, &now));
    OK(push_subscribe(client, channels, 2, PUSH_POSITION_START, &all));
    expect_none(now);
    expect(all, "sub-a", "stored");
    expect_none(all);
    push_publish_options_init(&options);
    options.event = push_str("greeting");
    options.event_id = push_str("7");
    options.flags = PUSH_JSON;
    OK(push_publish(client, push_str("sub-b"), push_str_data("\"live\""), &options, &published));
    CHECK(published.subscribers == 2);
    message = awaited(now, NULL);
    CHECK(is(push_message_channel(message), "sub-b") && is(push_message_event(message), "greeting"));
    CHECK(is(push_message_event_id(message), "7") && push_message_is_json(message) && push_message_id(message) == published.id);
    CHECK(push_message_position(message) == published.position && push_subscription_position(now) == published.position);
    push_message_free(message);
    expect(all, "sub-b", "\"live\"");
    push_publish_options_init(&options);
    options.flags = PUSH_UNSTORED;
    OK(push_publish(client, push_str("sub-a"), push_str_data("unstored"), &options, NULL));
    publish(client, "sub-b", "after");
    publish(client, "sub-other", "for others");
    expect(now, "sub-a", "unstored");
    expect(now, "sub-b", "after");
    expect_none(now);
    push_subscription_free(now);
    OK(push_subscribe(client, channels, 2, published.position, &now));
    expect(now, "sub-b", "after");
    expect_none(now);
    push_subscription_free(now);
    push_subscription_free(all);
}

static void large(const push_client *client) {
    const size_t len = 1 << 20;
    unsigned char *payload = (unsigned char *)malloc(len);
    push_text channel = push_str("sub-large");
    push_subscription *subscription = NULL;
    push_message *message;
    size_t at;
    for (at = 0; at < len; at++) {
        payload[at] = (unsigned char)(at * 7 >> 2);
    }
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    OK(push_publish(client, channel, push_data(payload, len), NULL, NULL));
    OK(push_publish(client, channel, push_data("\0\1", 2), NULL, NULL));
    OK(push_publish(client, channel, push_data(NULL, 0), NULL, NULL));
    message = awaited(subscription, NULL);
    CHECK(holds(push_message_payload(message), payload, len));
    push_message_free(message);
    message = awaited(subscription, NULL);
    CHECK(holds(push_message_payload(message), "\0\1", 2));
    push_message_free(message);
    message = awaited(subscription, NULL);
    CHECK(push_message_payload(message).len == 0 && push_message_type(message) == PUSH_MESSAGE);
    push_message_free(message);
    push_subscription_free(subscription);
    free(payload);
}

/* Nobody reads while far more is published than is kept for it: calls go on, and what is stored comes later. */
static void slow(const push_client *client) {
    enum { MESSAGES = 3000, LEN = 1000 };
    push_channel_options options;
    push_text channel = push_str("sub-slow");
    push_subscription *subscription = NULL;
    char payload[LEN];
    int at;
    push_channel_options_init(&options);
    options.max_messages = MESSAGES;
    OK(push_create_channel(client, channel, &options, NULL, 0));
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    memset(payload, 'x', sizeof payload);
    for (at = 0; at < MESSAGES; at++) {
        int len = snprintf(payload, sizeof payload, "%d", at);
        payload[len] = 'x';
        OK(push_publish_async(client, channel, push_data(payload, sizeof payload), NULL));
    }
    for (at = 0; at < MESSAGES && failures == 0; at++) {
        push_message *message = awaited(subscription, NULL);
        CHECK(push_message_type(message) == PUSH_MESSAGE && push_message_id(message) == (uint64_t)at + 1);
        CHECK(atoi((const char *)push_message_payload(message).data) == at);
        push_message_free(message);
    }
    expect_none(subscription);
    push_subscription_free(subscription);
}

static void gaps(const push_client *client) {
    push_channel_options options;
    push_text channel = push_str("sub-gap");
    push_subscription *subscription = NULL;
    push_published first;
    push_message *message;
    push_channel_options_init(&options);
    options.max_messages = 2;
    OK(push_create_channel(client, channel, &options, NULL, 0));
    OK(push_publish(client, channel, push_str_data("1"), NULL, &first));
    publish(client, "sub-gap", "2");
    publish(client, "sub-gap", "3");
    publish(client, "sub-gap", "4");
    OK(push_subscribe(client, &channel, 1, first.position, &subscription));
    message = awaited(subscription, NULL);
    CHECK(push_message_type(message) == PUSH_GAP && push_message_channel(message).len == 0);
    CHECK(push_message_payload(message).len == 0 && push_message_position(message) > first.position);
    push_message_free(message);
    expect(subscription, "sub-gap", "3");
    expect(subscription, "sub-gap", "4");
    expect_none(subscription);
    push_subscription_free(subscription);
}

static void deletions(const push_client *client) {
    push_text channels[2];
    push_subscription *subscription = NULL;
    push_message *message;
    channels[0] = push_str("sub-gone");
    channels[1] = push_str("sub-stays");
    OK(push_subscribe(client, channels, 2, PUSH_POSITION_NOW, &subscription));
    publish(client, "sub-gone", "last words");
    OK(push_delete_channel(client, channels[0], push_str_data("bye"), NULL));
    publish(client, "sub-gone", "for nobody");
    publish(client, "sub-stays", "goes on");
    expect(subscription, "sub-gone", "last words");
    message = awaited(subscription, NULL);
    CHECK(push_message_type(message) == PUSH_CHANNEL_DELETED && is(push_message_channel(message), "sub-gone"));
    CHECK(holds(push_message_payload(message), "bye", 3) && push_message_position(message) != 0);
    push_message_free(message);
    expect(subscription, "sub-stays", "goes on");
    OK(push_delete_channel(client, channels[1], push_data(NULL, 0), NULL));
    message = awaited(subscription, NULL);
    CHECK(holds(push_message_payload(message), "Channel deleted", 15));
    push_message_free(message);
    expect_none(subscription);
    push_subscription_free(subscription);
}

static void forked(const push_client *client, push_hub *hub) {
    push_text channel = push_str("sub-fork");
    push_subscription *subscription = NULL;
    int status = 1;
    pid_t pid;
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    pid = fork();
    if (pid == 0) {
        push_message *message = NULL;
        push_subscription *own = NULL;
        failures = 0;
        CHECK(push_subscription_next(subscription, &message) == PUSH_FORKED && said("subscribe here") && message == NULL);
        push_subscription_free(subscription);
        if (hub == NULL) {
            OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &own));
            publish(client, "sub-fork", "child");
            expect(own, "sub-fork", "child");
        } else {
            CHECK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &own) == PUSH_FORKED);
        }
        push_subscription_free(own);
        _exit(failures);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (hub == NULL) {
        expect(subscription, "sub-fork", "child");
    }
    publish(client, "sub-fork", "parent");
    expect(subscription, "sub-fork", "parent");
    push_subscription_free(subscription);
}

static void stopped(push_client *client, push_hub *hub) {
    push_text channel = push_str("sub-stop");
    push_subscription *subscription = NULL;
    push_message *message = NULL;
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    push_hub_stop(hub);
    push_client_free(client);
    CHECK(readable(subscription, 20000));
    CHECK(push_subscription_next(subscription, &message) == PUSH_HUB_UNAVAILABLE && said("ended") && message == NULL);
    push_subscription_free(subscription);
}

static void left(const push_client *client) {
    push_counters counters;
    int tries;
    push_counters_init(&counters);
    for (tries = 0; tries < 4000; tries++) {
        OK(push_client_status(client, &counters));
        if (counters.subscribers == 0) {
            return;
        }
        poll(NULL, 0, 5);
    }
    CHECK(!"all seats are given back");
}

int main(int argc, char **argv) {
    push_hub *hub;
    push_client *client;
    CHECK(argc == 2);
    client = reach(argv[1], &hub);
    live_and_stored(client);
    large(client);
    slow(client);
    gaps(client);
    deletions(client);
    forked(client, hub);
    left(client);
    if (hub != NULL) {
        stopped(client, hub);
    } else {
        push_client_free(client);
    }
    return failures == 0 ? 0 : 1;
}
