/* The hub dies under a subscription, which goes on with the next one. argv: the socket. */
#define _POSIX_C_SOURCE 200809L
#include "subscription.h"

#include <signal.h>

int main(int argc, char **argv) {
    push_text channel = push_str("next-hub");
    push_subscription *subscription = NULL;
    push_client *client = NULL;
    push_config *config;
    push_message *message;
    int kills, away = 0;
    CHECK(argc == 2);
    config = configured(argv[1]);
    OK(push_config_set(config, "backoff", "1ms"));
    OK(push_client_open(config, &client));
    push_config_free(config);
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    for (kills = 0; kills < 4; kills++) {
        push_counters counters;
        int fd = push_subscription_fd(subscription);
        int tries;
        push_counters_init(&counters);
        OK(push_client_status(client, &counters));
        OK(push_publish(client, channel, push_str_data("before"), NULL, NULL));
        expect(subscription, "next-hub", "before");
        CHECK(kill((pid_t)counters.pid, SIGKILL) == 0);
        for (tries = 0; tries < 2000 && push_client_ping(client, 1000) != PUSH_OK; tries++) {
            poll(NULL, 0, 5);
        }
        OK(push_publish(client, channel, push_str_data("after"), NULL, NULL));
        /* It has missed nothing, so that there is no gap. */
        do {
            message = NULL;
            if (push_subscription_next(subscription, &message) != PUSH_OK) {
                away++;
            }
        } while (message == NULL && readable(subscription, 20000));
        CHECK(push_message_type(message) == PUSH_MESSAGE && holds(push_message_payload(message), "after", 5));
        push_message_free(message);
        CHECK(push_subscription_fd(subscription) == fd);
    }
    CHECK(away < 1000);
    push_subscription_free(subscription);
    push_client_free(client);
    return failures == 0 ? 0 : 1;
}
