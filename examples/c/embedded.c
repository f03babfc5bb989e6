/* A hub in the program: browsers poll it, the program publishes by a function call and hears what they publish.
 *
 *     cc embedded.c $(pkg-config --cflags --libs push) -o embedded
 *     ./embedded                      # prints its address, then publishes each line of its standard input on "lines"
 *     curl http://ADDRESS/sub/lines?position=0.0 */
#include <push.h>

#include <stdio.h>
#include <string.h>

static void log_line(int level, push_text line, void *user) {
    (void)user;
    if (level <= PUSH_LOG_WARN) {
        fprintf(stderr, "hub: %.*s\n", (int)line.len, line.data);
    }
}

int main(void) {
    push_config *config = push_config_new();
    push_hub *hub = NULL;
    push_client *client = NULL;
    push_status status;
    char line[4096];

    push_log_to(log_line, NULL);
    status = push_config_set(config, "listen", "127.0.0.1:0");
    if (status == PUSH_OK) {
        status = push_hub_start(config, &hub);
    }
    if (status == PUSH_OK) {
        status = push_client_embedded(hub, &client);
    }
    /* Browsers may subscribe to what the program has created. */
    if (status == PUSH_OK) {
        status = push_create_channel(client, push_str("lines"), NULL, NULL, 0);
    }
    if (status == PUSH_OK) {
        printf("http://%s/sub/lines\n", push_hub_address(hub, 0));
        fflush(stdout);
    }
    while (status == PUSH_OK && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        status = push_publish(client, push_str("lines"), push_str_data(line), NULL, NULL);
    }
    if (status != PUSH_OK) {
        fprintf(stderr, "%s\n", push_last_error());
    }
    push_client_free(client);
    push_hub_stop(hub);
    push_config_free(config);
    return status == PUSH_OK ? 0 : 1;
}
