/* What the test programs share: checks that count, and how a hub is reached. */
#ifndef TEST_H
#define TEST_H

#include "push.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, push_last_error()); \
            failures++;                                                                                     \
        }                                                                                                   \
    } while (0)

#define OK(call) CHECK((call) == PUSH_OK)

/* Whether the last error contains these words. */
static inline int said(const char *words) { return strstr(push_last_error(), words) != NULL; }

static inline int is(push_text text, const char *expected) {
    return text.len == strlen(expected) && (text.len == 0 || memcmp(text.data, expected, text.len) == 0);
}

static inline int holds(push_bytes bytes, const void *expected, size_t len) {
    return bytes.len == len && (len == 0 || memcmp(bytes.data, expected, len) == 0);
}

/* The configuration of the test: attaches to the hub at this socket. */
static inline push_config *configured(const char *socket) {
    push_config *config = push_config_new();
    OK(push_config_set(config, "socket", socket));
    OK(push_config_set(config, "timeout", "5s"));
    return config;
}

/* A client of the hub at the socket, or, for "embedded", of one in this process. */
static inline push_client *reach(const char *where, push_hub **hub_out) {
    push_client *client = NULL;
    push_config *config;
    *hub_out = NULL;
    if (strcmp(where, "embedded") == 0) {
        config = push_config_new();
        OK(push_config_set(config, "listen", "127.0.0.1:0"));
        OK(push_config_set(config, "admin_listen", "127.0.0.1:0"));
        OK(push_config_set(config, "max_message_size", "1m"));
        OK(push_config_set(config, "log_level", "error"));
        OK(push_hub_start(config, hub_out));
        OK(push_client_embedded(*hub_out, &client));
    } else {
        config = configured(where);
        OK(push_client_open(config, &client));
    }
    push_config_free(config);
    return client;
}

#endif
