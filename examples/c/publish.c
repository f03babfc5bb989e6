/* Publishes a line to a channel: publish CHANNEL TEXT
 *
 *     cc publish.c $(pkg-config --cflags --libs push) -o publish
 *
 * PUSH_SOCKET in the environment leads to another hub than the system's. */
#include <push.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, push_last_error());
    return 1;
}

int main(int argc, char **argv) {
    push_config *config = push_config_new();
    push_client *client = NULL;
    push_published published;
    char position[PUSH_POSITION_SIZE];
    int result = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: %s CHANNEL TEXT\n", argv[0]);
        push_config_free(config);
        return 2;
    }
    if (getenv("PUSH_SOCKET") != NULL && push_config_set(config, "socket", getenv("PUSH_SOCKET")) != PUSH_OK) {
        result = failed("PUSH_SOCKET");
    } else if (push_client_open(config, &client) != PUSH_OK) {
        result = failed("client");
    } else if (push_publish(client, push_str(argv[1]), push_str_data(argv[2]), NULL, &published) != PUSH_OK) {
        result = failed(argv[1]);
    } else if (push_position_text(published.position, position, sizeof position) == PUSH_OK) {
        printf("message %llu at %s\n", (unsigned long long)published.id, position);
    }
    push_client_free(client);
    push_config_free(config);
    return result;
}
