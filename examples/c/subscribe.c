/* Prints what is published on channels: subscribe CHANNEL...
 *
 *     cc subscribe.c $(pkg-config --cflags --libs push) -o subscribe
 *
 * An event loop over poll(): the descriptor of the subscription beside the program's own, here the standard input, whose end ends it.
 * PUSH_SOCKET in the environment leads to another hub than the system's. */
#include <push.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print(const push_message *message) {
    push_text channel = push_message_channel(message);
    push_bytes payload = push_message_payload(message);
    char position[PUSH_POSITION_SIZE];
    push_position_text(push_message_position(message), position, sizeof position);
    switch (push_message_type(message)) {
        case PUSH_GAP:
            printf("%s: messages are missing before here\n", position);
            break;
        case PUSH_CHANNEL_DELETED:
            printf("%s %.*s: the channel is gone\n", position, (int)channel.len, channel.data);
            break;
        default:
            printf("%s %.*s: %.*s\n", position, (int)channel.len, channel.data, (int)payload.len, (const char *)payload.data);
    }
    fflush(stdout);
}

/* All that has come. */
static void receive(push_subscription *subscription) {
    push_message *message = NULL;
    for (;;) {
        if (push_subscription_next(subscription, &message) != PUSH_OK) {
            /* The hub is gone. The descriptor says when it is time to look again. */
            fprintf(stderr, "%s\n", push_last_error());
            return;
        }
        if (message == NULL) {
            return;
        }
        print(message);
        push_message_free(message);
    }
}

static void loop(push_subscription *subscription) {
    struct pollfd waiting[2];
    waiting[0].fd = push_subscription_fd(subscription);
    waiting[0].events = POLLIN;
    waiting[1].fd = STDIN_FILENO;
    waiting[1].events = POLLIN;
    while (poll(waiting, 2, -1) >= 0) {
        char input[256];
        if (waiting[0].revents != 0) {
            receive(subscription);
        }
        if (waiting[1].revents != 0 && read(STDIN_FILENO, input, sizeof input) <= 0) {
            return;
        }
    }
}

int main(int argc, char **argv) {
    push_config *config = push_config_new();
    push_client *client = NULL;
    push_subscription *subscription = NULL;
    push_text *channels = (push_text *)calloc((size_t)argc, sizeof *channels);
    push_status status = PUSH_OK;
    int at;

    for (at = 1; at < argc; at++) {
        channels[at - 1] = push_str(argv[at]);
    }
    if (getenv("PUSH_SOCKET") != NULL) {
        status = push_config_set(config, "socket", getenv("PUSH_SOCKET"));
    }
    if (status == PUSH_OK) {
        status = push_client_open(config, &client);
    }
    if (status == PUSH_OK) {
        status = push_subscribe(client, channels, (size_t)(argc - 1), PUSH_POSITION_NOW, &subscription);
    }
    if (status == PUSH_OK) {
        printf("subscribed\n");
        fflush(stdout);
        loop(subscription);
    } else {
        fprintf(stderr, "%s\n", push_last_error());
    }
    push_subscription_free(subscription);
    push_client_free(client);
    push_config_free(config);
    free(channels);
    return status == PUSH_OK ? 0 : 1;
}
