/* Log lines of a hub in this process go to a function of the program. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int lines = 0;
static int attached = 0;
static int user;

static void take(int level, push_text line, void *given) {
    char text[512];
    pthread_mutex_lock(&lock);
    lines++;
    CHECK(given == &user && level == PUSH_LOG_DEBUG);
    CHECK(line.len > 0 && line.len < sizeof text && memchr(line.data, '\n', line.len) == NULL);
    if (line.len < sizeof text) {
        memcpy(text, line.data, line.len);
        text[line.len] = '\0';
        attached += strstr(text, "client attached") != NULL;
    }
    pthread_mutex_unlock(&lock);
}

static void subscribe(const push_client *client) {
    push_subscription *subscription = NULL;
    push_text channel = push_str("log");
    OK(push_subscribe(client, &channel, 1, PUSH_POSITION_NOW, &subscription));
    push_subscription_free(subscription);
}

int main(void) {
    push_config *config = push_config_new();
    push_hub *hub = NULL;
    push_client *client = NULL;
    int before;
    OK(push_config_set(config, "listen", "127.0.0.1:0"));
    OK(push_config_set(config, "log_level", "debug"));
    OK(push_config_set(config, "log", "/dev/null"));
    OK(push_log_to(take, &user));
    OK(push_hub_start(config, &hub));
    OK(push_client_embedded(hub, &client));
    subscribe(client);
    OK(push_log_to(NULL, NULL));
    pthread_mutex_lock(&lock);
    before = lines;
    CHECK(attached == 1);
    pthread_mutex_unlock(&lock);
    subscribe(client);
    push_hub_stop(hub);
    CHECK(lines == before);
    push_client_free(client);
    push_config_free(config);
    return failures == 0 ? 0 : 1;
}
